"""The enforcer's pins: which programs they hold in the kernel, and how to be rid of them."""

from __future__ import annotations

import ctypes
import os
import shutil
from ctypes.util import find_library
from pathlib import Path

from deploy.demo.namespace import Namespace
from deploy.demo.process import await_that, run
from enforcer.errors import HostError

BPFFS = Path("/sys/fs/bpf")
TRACEFS = Path("/sys/kernel/tracing")


def mount_filesystems() -> None:
    """bpffs and tracefs, where no boot script has mounted them. They stay: a systemd host has them always."""
    for kind, where in (("bpf", BPFFS), ("tracefs", TRACEFS)):
        if not os.path.ismount(where):
            run("mount", "-t", kind, kind, str(where))


def unload(pins: str, enforcer: str, namespace: str) -> None:
    """Have the enforcer remove its pins, and see that they and their programs are gone. The agent has stopped.

    ``namespace``: the network namespace that it was in, empty for the host's: its egress guard is there.
    """
    if not Path(pins).exists():
        return
    programs = programs_of(Path(pins))
    if Path(enforcer).exists():
        Namespace(namespace).run(enforcer, "unload", "--pins", pins)
    else:
        shutil.rmtree(pins)
    if Path(pins).exists():
        raise HostError(f"{pins} is still there after enforcer unload: remove it with rm -r")
    await_that(f"the kernel to let go of programs {programs}", lambda: not any(map(program_exists, programs)))


def programs_of(pins: Path) -> list[int]:
    """The ids of the programs that the pins (programs or links) hold, from the descriptors' fdinfo."""
    return sorted({found for pin in pins.rglob("*") if pin.is_file() for found in _programs_behind(pin)})


def _programs_behind(pin: Path) -> list[int]:
    fd = _libbpf().bpf_obj_get(os.fsencode(pin))
    if fd < 0:
        return []
    try:
        lines = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    finally:
        os.close(fd)
    return [int(line.split()[1]) for line in lines if line.startswith("prog_id:")]


def program_exists(number: int) -> bool:
    """Whether the kernel still has the program with that id."""
    fd = _libbpf().bpf_prog_get_fd_by_id(number)
    if fd >= 0:
        os.close(fd)
    return bool(fd >= 0)


def _libbpf() -> ctypes.CDLL:
    name = find_library("bpf")
    if name is None:
        raise HostError("libbpf is not installed: run make install")
    return ctypes.CDLL(name, use_errno=True)
