"""The kernel's audit records as facts: the lines of one event, put together and taken apart.

An event is several netlink messages with one serial: SYSCALL, then (as it happens) OPENAT2, CWD, one PATH for each name that
the call reached, PROCTITLE, and EOE as the last. Messages of several events come interleaved. A value is in quotes, or in
hexadecimal if it holds a quote, a space or a control character: it was chosen by whoever made the call (kernel/audit.c,
audit_log_untrustedstring). Record types: include/uapi/linux/audit.h.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

SYSCALL, PATH, CWD, EOE, OPENAT2 = 1300, 1302, 1307, 1320, 1337

_HEAD = re.compile(rb"audit\((\d+)\.(\d{3}):(\d+)\): ?")
_FIELD = re.compile(rb'(\w+)=("[^"]*"|\([^)]*\)|[^\s]*)')
_PATH = re.compile(rb"name=(\S+)(?: inode=(\d+) dev=([0-9a-f]+):([0-9a-f]+)\b.*?)? nametype=([A-Z]+)\b")
"""The commonest record by one expression. No value has a space in it (audit_log_untrustedstring), so none can look like a field."""

_BETWEEN_KEYS = b"\x01"  # AUDIT_KEY_SEPARATOR of auditd's libaudit.h: a rule may have several

_KEPT_EVENTS = 256
"""Events that may be incomplete at a time: more, and the oldest is taken as it is."""

_KEPT_ITEMS = 64
"""PATH records of one event that are kept: a call reaches a handful."""


@dataclass(frozen=True)
class Item:
    """A name that the call reached. ``name`` None: it came by descriptor; ``device`` is s_dev, 0 with ``inode`` 0 if unknown.

    ``kind``: NORMAL, PARENT, CREATE, DELETE or UNKNOWN.
    """

    name: bytes | None
    inode: int
    device: int
    kind: str


@dataclass(frozen=True)
class Observation:
    """One system call. ``time_ns`` is UTC with a millisecond's grain; ``pid`` the process (thread group): which thread is not told.

    ``arguments`` are the first four; ``exit`` what it returned; ``exe`` the program, as it sees itself; ``keys`` those of the
    rule that matched; ``how`` the flags of openat2. ``complete``: nothing of it is missing.
    """

    serial: int
    time_ns: int
    arch: int
    syscall: int
    exit: int
    arguments: tuple[int, ...]
    pid: int
    parent: int
    uid: int
    comm: bytes
    exe: bytes = b""
    keys: tuple[bytes, ...] = ()
    cwd: bytes = b""
    items: tuple[Item, ...] = ()
    how: int | None = None
    complete: bool = True


@dataclass
class _Parts:
    time_ns: int
    syscall: dict[bytes, bytes] = field(default_factory=dict)
    paths: list[Item] = field(default_factory=list)
    cwd: bytes = b""
    how: int | None = None


def head_of(record: bytes) -> tuple[int, int, int] | None:
    """(UTC in ns, serial, where the fields begin) of a record; None if it is none."""
    found = _HEAD.match(record)
    if not found:
        return None
    return (int(found[1]) * 1000 + int(found[2])) * 1_000_000, int(found[3]), found.end()


def fields_of(record: bytes, start: int = 0) -> dict[bytes, bytes]:
    """The fields of a record, raw."""
    return dict(_FIELD.findall(record, start))


def text_of(raw: bytes | None) -> bytes | None:
    """A value that somebody chose: without its quotes, or from hexadecimal. None for ``(null)`` and what is neither."""
    if raw is None or raw.startswith(b"("):
        return None
    if raw.startswith(b'"'):
        return raw[1:-1]
    try:
        return bytes.fromhex(raw.decode("ascii"))
    except ValueError:
        return None


class Assembler:
    """Puts the messages of events together, in whatever order events end. ``broken``: messages that could not be read."""

    def __init__(self) -> None:
        self._open: dict[int, _Parts] = {}
        self.broken = 0

    def add(self, kind: int, record: bytes) -> Iterator[Observation]:
        """Take one message; yields each system call that is whole with it, or that can wait no longer."""
        head = head_of(record) if kind in (SYSCALL, PATH, CWD, EOE, OPENAT2) else None
        if head is None:
            self.broken += kind in (SYSCALL, PATH, CWD, EOE, OPENAT2)
            return
        time_ns, serial, start = head
        if kind == EOE:
            yield from self._taken(serial)
            return
        parts = self._open.setdefault(serial, _Parts(time_ns))
        try:
            _add(parts, kind, record, start)
        except ValueError:
            self.broken += 1
        if len(self._open) > _KEPT_EVENTS:
            yield from self._taken(min(self._open))

    def settle(self, before_ns: int) -> Iterator[Observation]:
        """The calls from before then (UTC) whose end has never come."""
        for serial in [s for s, parts in self._open.items() if parts.time_ns < before_ns]:
            yield from self._taken(serial)

    def _taken(self, serial: int) -> Iterator[Observation]:
        parts = self._open.pop(serial, None)
        if parts is None:
            return  # of a kind that we do not read
        try:
            yield _observation(serial, parts)
        except (KeyError, ValueError):
            self.broken += 1


def _add(parts: _Parts, kind: int, record: bytes, start: int) -> None:
    if kind == PATH:
        if len(parts.paths) < _KEPT_ITEMS:
            parts.paths.append(_item(record, start))
        return
    fields = fields_of(record, start)
    if kind == SYSCALL:
        parts.syscall = fields
    elif kind == CWD:
        parts.cwd = text_of(fields.get(b"cwd")) or b""
    else:
        parts.how = int(fields.get(b"oflag", b""), 8)


def _item(record: bytes, start: int) -> Item:
    found = _PATH.search(record, start)
    if not found:
        raise ValueError("no PATH record")
    name, inode, major, minor, kind = found.groups()
    device = int(major, 16) << 20 | int(minor, 16) if major else 0
    return Item(text_of(name), int(inode or 0), device, kind.decode("ascii"))


def _observation(serial: int, parts: _Parts) -> Observation:
    """Raises KeyError where the SYSCALL record or a field of it is missing, ValueError where one is no number."""
    call = parts.syscall
    return Observation(
        serial=serial,
        time_ns=parts.time_ns,
        arch=int(call[b"arch"], 16),
        syscall=int(call[b"syscall"]),
        exit=int(call[b"exit"]),
        arguments=tuple(int(call[name], 16) for name in (b"a0", b"a1", b"a2", b"a3")),
        pid=int(call[b"pid"]),
        parent=int(call[b"ppid"]),
        uid=int(call[b"uid"]),
        comm=text_of(call.get(b"comm")) or b"",
        exe=text_of(call.get(b"exe")) or b"",
        keys=tuple((text_of(call.get(b"key")) or b"").split(_BETWEEN_KEYS)),
        cwd=parts.cwd,
        items=tuple(parts.paths),
        how=parts.how,
        complete=len(parts.paths) == int(call[b"items"]),
    )
