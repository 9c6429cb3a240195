"""Who listens in a network namespace: read from the outside, so that the container needs no tool for it."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

from enforcer.core.outcome import Listener
from enforcer.edges.procfs import PROC
from enforcer.errors import ContainerGone, EdgeError

_LISTEN = "0A"  # TCP_LISTEN of include/net/tcp_states.h


def listening(pid: int, root: Path = PROC) -> tuple[Listener, ...]:
    """Who listens by TCP in the network namespace of a process (proc_pid_net(5)). Raises ContainerGone."""
    found = [_listener(line.split()) for name in ("tcp", "tcp6") for line in _lines(root / str(pid), name)]
    return tuple(sorted({f for f in found if f}, key=lambda f: (f.port, f.address.version, f.address.packed)))


def _lines(process: Path, name: str) -> list[str]:
    try:
        return (process / "net" / name).read_text().splitlines()[1:]
    except (FileNotFoundError, ProcessLookupError) as e:
        if (process / "net/tcp").exists():  # a kernel without IPv6 has no tcp6
            return []
        raise ContainerGone(f"process {process.name} ended") from e
    except OSError as e:
        if not process.exists():  # EINVAL: it is a zombie, whose namespaces are gone
            raise ContainerGone(f"process {process.name} ended") from e
        raise EdgeError(f"cannot read {process}/net/{name}: {e.strerror}") from e


def _listener(fields: list[str]) -> Listener | None:
    """Fields 1 and 3 of a line: ``0100007F:1F90`` and the state. The address is words in the host's byte order."""
    if fields[3] != _LISTEN:
        return None
    words, _, port = fields[1].partition(":")
    raw = b"".join(struct.pack("=I", int(words[i : i + 8], 16)) for i in range(0, len(words), 8))
    address = IPv4Address(raw) if len(raw) == 4 else IPv6Address(raw)
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return Listener(mapped or address, int(port, 16))
