"""What an operator may order while the agent runs: block and unblock a network, quarantine and release a container.

Each order is idempotent, kept before it takes effect, and put on record with who gave it and why.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from difflib import get_close_matches
from typing import Any

from enforcer.core.model import Container, Facts
from enforcer.errors import EdgeError, EnforcerError, UsageError
from enforcer.runtime.follow import Resync, Writer
from enforcer.runtime.guard import Tell
from enforcer.runtime.orders import Order, OrdersFile
from enforcer.runtime.reconcile import Reconcile

SECONDS = 8.0
"""How long an order may take to be in force before whoever gave it hears that it takes longer."""

SHORTEST_ID = 12
"""A prefix of a container's id as long as the one that Docker shows names it."""

ORDERS = {
    "block": ("blocked", True),
    "unblock": ("blocked", False),
    "quarantine": ("quarantined", True),
    "release": ("quarantined", False),
}
"""Command → the part of ``Orders`` that it changes, and whether it adds to it."""

DONE = {"block": "blocked", "unblock": "unblocked", "quarantine": "quarantined", "release": "released"}


class Operator:
    """Takes orders from any thread, has the writer's thread carry them out, and answers when they are in force."""

    def __init__(self, file: OrdersFile, reconcile: Reconcile, writer: Writer, tell: Tell) -> None:
        self._file, self._reconcile, self._writer, self._tell = file, reconcile, writer, tell

    def obey(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out one order: ``command``, ``name``, ``who``, ``why``, ``uid``. Raises ``UsageError`` for a name of nothing."""
        done: queue.SimpleQueue[dict[str, Any] | EnforcerError] = queue.SimpleQueue()

        def carry_out() -> None:
            try:
                done.put(self._carry_out(request))
            except UsageError as e:
                done.put(e)
            except EnforcerError as e:
                self._tell(str(request["command"]), str(e), outcome="failure", **_asker(request))
                done.put(e)
                raise  # what is kept and not in force: everything is looked at again until it is

        self._writer.put(carry_out, Resync())
        try:
            answer = done.get(timeout=SECONDS)
        except queue.Empty:
            raise EdgeError(
                "the agent is busy: the order is carried out as soon as it can be; `enforcer status` shows it"
            ) from None
        if isinstance(answer, EnforcerError):
            raise answer
        return answer

    def plain(self) -> dict[str, Any]:
        """For ``status``: what is blocked and quarantined, by whom, why and since when."""
        networks, containers = self._facts().networks, self._facts().containers
        return {
            "blocked": [
                {"network": name, "there": name in networks, **_plain(order)}
                for name, order in sorted(self._file.orders.blocked.items())
            ],
            "quarantined": [
                {
                    "container": containers[i].name if i in containers else order.name,
                    "id": i,
                    "there": i in containers,
                    **_plain(order),
                }
                for i, order in sorted(self._file.orders.quarantined.items(), key=lambda item: item[1].name)
            ],
        }

    def _carry_out(self, request: Mapping[str, Any]) -> dict[str, Any]:
        command, name = str(request["command"]), str(request.get("name", ""))
        field, adding = ORDERS[command]
        key, shown = self._network(name) if field == "blocked" else self._container(name)
        asker = _asker(request)
        who, why = str(asker["who"]), str(asker["why"])
        there: dict[str, Order] = getattr(self._file.orders, field)
        changed = (key in there) is not adding
        if changed:
            entries = {k: order for k, order in there.items() if k != key}
            if adding:
                entries[key] = Order(shown, who, why, time.time())
            self._file.write(replace(self._file.orders, **{field: entries}))
        self._reconcile.order(self._file.orders)
        what = "network" if field == "blocked" else "container"
        message = f"{what} {shown} {'is' if changed else 'was already'} {DONE[command]}"
        self._tell(
            command,
            f"{message} by {who}: {why}" if why else f"{message} by {who}",
            **{what: shown, "id": key, "changed": int(changed), **asker},
        )
        return {"message": message, "changed": changed, what: shown}

    def _facts(self) -> Facts:
        snapshot = self._reconcile.snapshot
        return snapshot.facts if snapshot else Facts()

    def _network(self, name: str) -> tuple[str, str]:
        known = {*self._facts().networks, *self._file.orders.blocked}
        if name not in known:
            raise UsageError(_unknown("network", name, known))
        return name, name

    def _container(self, name: str) -> tuple[str, str]:
        """Its id and name, by its name or the beginning of its id; one that is gone is known as long as an order names it."""
        containers: Mapping[str, Container] = self._facts().containers
        named = {i: o.name for i, o in self._file.orders.quarantined.items()} | {
            i: c.name for i, c in containers.items()
        }
        found = [i for i, n in named.items() if n == name and i in containers] or [
            i for i, n in named.items() if n == name
        ]
        if not found and len(name) >= SHORTEST_ID:
            found = [i for i in named if i.startswith(name)]
        if not found:
            raise UsageError(_unknown("container", name, set(named.values())))
        if len(found) > 1:
            raise UsageError(f"{name!r} may mean several containers: give the id of one: {', '.join(sorted(found))}")
        return found[0], named[found[0]]


def _asker(request: Mapping[str, Any]) -> dict[str, Any]:
    uid = int(request["uid"])
    return {"who": str(request.get("who") or f"uid {uid}"), "uid": uid, "why": str(request.get("why", ""))}


def _plain(order: Order) -> dict[str, Any]:
    return {k: v for k, v in asdict(order).items() if k != "name"}


def _unknown(what: str, name: str, known: set[str]) -> str:
    near = get_close_matches(name, sorted(known), n=3)
    listed = ", ".join(near or sorted(known)[:20]) or "none"
    return f"there is no {what} {name!r} on this host; {'did you mean' if near else 'there are'}: {listed}"
