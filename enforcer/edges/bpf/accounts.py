"""What the agent itself accounts for, in one map: what is on record, what it has lost or judged, and how far it has come."""

from __future__ import annotations

import secrets
import struct
import threading
from collections.abc import Mapping
from itertools import chain
from typing import NamedTuple

from enforcer import abi
from enforcer.edges.bpf.libbpf import Libbpf

_KEY = struct.Struct("=5I4B")
_VALUE = struct.Struct("=Q")


class Account(NamedTuple):
    """One row, struct enf_account_key: what its number is a number of."""

    kind: int
    which: int = 0
    subject: int = 0
    object: int = 0
    peer: int = 0
    class_: int = 0
    access: int = 0
    verdict: int = 0
    hook: int = 0


class Place(NamedTuple):
    """How far the records have been kept: the number of the last batch, and where it ended.

    ``events`` and ``attempts``: positions in the rings; ``repeats``: window << 32 | subject. ``series`` is a random number of
    the maps, so that no position is taken for one in others.
    """

    series: int = 0
    batch: int = 0
    events: int = 0
    attempts: int = 0
    repeats: int = 0


class Accounts:
    """The map ``accounts``. Several threads of one agent may add, each with an object of its own."""

    _adding = threading.Lock()  # a row is read, added to and written back

    def __init__(self, libbpf: Libbpf, fd: int) -> None:
        self._libbpf, self._fd = libbpf, fd

    def all(self) -> dict[Account, int]:
        """Every row."""
        found: dict[Account, int] = {}
        for _, keys, values in self._libbpf.blocks(self._fd, _KEY.size, _VALUE.size):
            numbers = chain.from_iterable(_VALUE.iter_unpack(values))
            found.update(zip(map(Account._make, _KEY.iter_unpack(keys)), numbers, strict=True))
        return found

    def get(self, account: Account) -> int:
        """One number, 0 if it was never added to."""
        value = self._libbpf.get(self._fd, _KEY.pack(*account), _VALUE.size)
        return int.from_bytes(value, "little") if value else 0

    def add(self, changes: Mapping[Account, int], place: Place | None = None) -> None:
        """Add to these rows and, with a ``place``, have come so far, in one system call.

        Raises ``EdgeError`` if the map is full; then the place and some of the rows are there.
        """
        with self._adding:
            # a map that is full takes what comes before the row that it refuses: the place first, so that nothing is added twice
            rows = {Account(abi.PLACE, which): n for which, n in enumerate(place)} if place else {}
            rows |= {account: self.get(account) + n for account, n in changes.items()}
            if rows:
                self._libbpf.put_all(self._fd, {_KEY.pack(*account): _VALUE.pack(n) for account, n in rows.items()})

    def place(self) -> Place:
        """Where the last batch ended. Maps that nobody has read yet get their series."""
        found = Place._make(self.get(Account(abi.PLACE, which)) for which in range(len(Place._fields)))
        if not found.series:
            found = found._replace(series=secrets.randbits(63) | 1)
            self.add({}, found)
        return found
