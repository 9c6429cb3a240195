"""What an operator has ordered, with who and why: it outlives the agent, its policies and the host's boots."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from enforcer.errors import HostError


@dataclass(frozen=True)
class Order:
    """``name`` of the network or container as it was then, ``who`` gave the order and ``why``, ``since`` when (Unix time)."""

    name: str
    who: str
    why: str
    since: float


@dataclass(frozen=True)
class Orders:
    """``blocked``: networks by name, so that one that is made anew stays blocked. ``quarantined``: containers by id."""

    blocked: dict[str, Order] = field(default_factory=dict)
    quarantined: dict[str, Order] = field(default_factory=dict)


class OrdersFile:
    """``orders.json`` in the state ``directory``, and what is ordered now. Raises ``HostError`` where it cannot be read or kept.

    A file that makes no sense is never taken for none: it may hold a quarantine.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "orders.json"
        self.orders = self._read()

    def _read(self) -> Orders:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Orders)
        except FileNotFoundError:
            return Orders()
        except OSError as e:
            raise HostError(f"cannot read {self._path}: {e.strerror}") from e
        except msgspec.DecodeError as e:
            raise HostError(
                f"{self._path} holds what is blocked and quarantined and cannot be read ({e}): mend it, or remove it and "
                "give the orders again"
            ) from e

    def write(self, orders: Orders) -> None:
        """From now on this is ordered: on the disk when this returns, or as it was before."""
        scratch = self._path.with_suffix(".new")
        try:
            with scratch.open("wb") as out:
                os.fchmod(out.fileno(), 0o600)
                out.write(msgspec.json.encode(orders))
                out.flush()
                os.fsync(out.fileno())
            os.replace(scratch, self._path)
            self.orders = orders
        except OSError as e:
            raise HostError(f"cannot write {self._path}: {e.strerror}") from e
