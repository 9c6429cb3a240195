"""Prints what the kernel holds for bpf(2): a line "KIND ID NAME" for each program, map and link, but not runc's device filters."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

KINDS = {"prog": "prog_type", "map": "map_type", "link": "link_type"}
DEVICE_FILTER = "15"  # BPF_PROG_TYPE_CGROUP_DEVICE: one comes and goes with each container, made by runc

libbpf = ctypes.CDLL("libbpf.so.1", use_errno=True)


def numbers(kind: str) -> Iterator[int]:
    """Every id of a kind."""
    following = ctypes.c_uint32(0)
    while getattr(libbpf, f"bpf_{kind}_get_next_id")(following, ctypes.byref(following)) == 0:
        yield following.value


def described(kind: str, number: int) -> dict[str, str]:
    """What the kernel says of it; empty if it has gone meanwhile."""
    fd = getattr(libbpf, f"bpf_{kind}_get_fd_by_id")(number)
    if fd < 0:
        return {}
    try:
        lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    finally:
        os.close(fd)
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def main() -> None:
    """One line for each."""
    for kind, word in KINDS.items():
        for number in numbers(kind):
            found = described(kind, number)
            if found and not (kind == "prog" and found.get(word) == DEVICE_FILTER):
                print(kind, number, found.get(word, ""))


if __name__ == "__main__":
    main()
