"""Which of the host's devices are shut for quarantined containers, and what is said where none can be."""

from __future__ import annotations

from enforcer.core.isolation import Isolation, Place, isolate

HOST = 1


def place(name: str, namespace: int, *devices: str, free: bool = False, interfaces: int = -1) -> Place:
    """A container with as many interfaces as cables unless told otherwise."""
    return Place(name, namespace, not free, devices, len(devices) if interfaces < 0 else interfaces)


def test_every_cable_of_a_quarantined_container_is_shut() -> None:
    """Of each of them; nobody else's."""
    places = [place("one", 10, "veth1", "veth2"), place("two", 20, "veth3"), place("free", 30, "veth4", free=True)]
    assert isolate(places, HOST) == Isolation(frozenset({"veth1", "veth2", "veth3"}))


def test_nobody_quarantined_nothing_shut() -> None:
    """Not even looked at."""
    assert isolate([place("free", 30, "veth4", free=True)], HOST) == isolate([], HOST) == Isolation()


def test_who_is_free_does_not_suffer() -> None:
    """A container that shares its network with a free one keeps its cable, and that is said, until both are quarantined."""
    landlord, sidecar = place("landlord", 10, "veth1"), place("sidecar", 10, free=True, interfaces=1)
    found = isolate([landlord, sidecar], HOST)
    assert (found.devices, [name for name, _ in found.open]) == (frozenset(), ["landlord"])
    assert "sidecar" in found.open[0][1]
    both = isolate([landlord, place("sidecar", 10, "veth1")], HOST)
    assert both == Isolation(frozenset({"veth1"}))


def test_what_has_no_cable_is_said() -> None:
    """The host's own network, and interfaces that lead elsewhere; the cables beside them are shut all the same."""
    found = isolate([place("hostly", HOST, interfaces=9), place("mixed", 10, "veth1", interfaces=2)], HOST)
    assert found.devices == frozenset({"veth1"})
    assert [name for name, _ in found.open] == ["hostly", "mixed"]
    assert "macvlan" in dict(found.open)["mixed"]


def test_a_container_without_a_network_is_held() -> None:
    """There is nothing that leads out of it."""
    assert isolate([place("alone", 10)], HOST) == Isolation()
