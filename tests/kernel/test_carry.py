"""Counting goes on across an upgrade: what the build before has counted, lost and recorded is the next one's, too."""

from __future__ import annotations

from enforcer import abi
from enforcer.core.image import State, Subject, Table
from enforcer.core.model import Hook, Verdict
from enforcer.core.plan import Delete, Put
from enforcer.edges.bpf.loader import Source
from enforcer.edges.bpf.ring import Rings
from enforcer.runtime.probes import Probes
from tests.kernel.test_pins import Place, other, place

__all__ = ["other", "place"]  # fixtures

SUBJECT = 20
KEY = abi.CountKey(
    subject=SUBJECT, object=21, class_=abi.DATA, access=1, verdict=int(Verdict.DENIED), hook=int(Hook.OPEN)
)
LOST = (SUBJECT, abi.LOST_RING)


def counted(probes: Probes) -> int:
    """Violations of the subject, under whatever hook."""
    return sum(n for key, n in probes.maps.counts().items() if key[0] == SUBJECT)


def put_in_force(place: Place, source: Source | None = None) -> tuple[Probes, list[bytes]]:
    """A start to its end; the records that earlier builds had left."""
    left: list[bytes] = []

    def read_out(rings: Rings) -> None:
        left.extend(rings.events.read(1 << 20))
        rings.events.advance()

    made = place.probes(source)
    made.commit()
    made.hand_over(read_out)
    return made, left


def test_numbers_go_on_through_two_swaps(place: Place, other: Source) -> None:
    """Old and new add up, the next swap changes nothing, and an older build's sums are not mixed with what programs write."""
    first, _ = put_in_force(place)
    first.maps.add_count(KEY, 5)
    first.maps.add_loss(*LOST, 2)
    first.maps.add_recorded(SUBJECT, 3)
    place.leave(first)
    second, left = put_in_force(place, other)
    assert left  # of the first one's canary
    second.maps.add_count(KEY, 7)
    assert (counted(second), second.maps.losses()[LOST], second.maps.recorded()[SUBJECT]) == (12, 2, 3)
    place.leave(second)
    third, _ = put_in_force(place)
    assert (counted(third), third.maps.losses()[LOST], third.maps.recorded()[SUBJECT]) == (12, 2, 3)
    assert {key[6] for key in third.maps.counts() if key[0] == SUBJECT} == {abi.EARLIER}


def test_a_start_that_dies_in_the_middle_loses_nothing(place: Place, other: Source) -> None:
    """Numbers that were taken over are not taken twice, and records that nobody has read yet wait for the next start."""
    first, _ = put_in_force(place)
    first.maps.add_count(KEY, 5)
    place.leave(first)
    second = place.probes(other)
    second.commit()
    place.leave(second)
    third, left = put_in_force(place, other)
    assert (third.adopted, counted(third)) == (True, 5)
    assert left
    assert place.builds() == [other.build]


def test_who_began_and_who_has_ended_is_known_after_a_swap(place: Place, other: Source) -> None:
    """Whose an address was stays known; under which epoch, only the build that has noted it knows."""
    first, _ = put_in_force(place)
    key = bytes(abi.FlowKey(socket=77, port=53, protocol=17))
    first.maps.put_row("inbound", key, abi.Inbound(epoch=first.maps.config().epoch + 5, holder=SUBJECT))
    first.maps.apply(Put(Table.CGROUPS, 4242, Subject(SUBJECT, State.ARMED, 4242)))
    first.maps.apply(Put(Table.CGROUPS, 4243, Subject(SUBJECT, State.ARMED, 4242)))
    for cgroup in (4242, 4243):
        first.maps.apply(Delete(Table.CGROUPS, cgroup))
    place.leave(first)
    second, _ = put_in_force(place, other)
    found = second.maps.row("inbound", key, abi.Inbound)
    assert found
    assert (found.epoch, found.holder) == (abi.NO_EPOCH, SUBJECT)
    gone = {int.from_bytes(cgroup, "little") for cgroup in second.maps.keys("gone", 8)}
    assert gone & {4242, 4243} == {4242}  # a nested one is found by those above it
    ended = second.maps.row("gone", (4242).to_bytes(8, "little"), abi.Subject)
    assert ended
    assert (ended.id, ended.container, ended.state) == (SUBJECT, 4242, State.ARMED)


def test_numbers_of_another_state_are_not_taken(place: Place) -> None:
    """They are about somebody else: the next build counts from nothing."""
    first, _ = put_in_force(place)
    first.maps.add_count(KEY, 5)
    place.leave(first)
    second = place.probes(instance=1)
    second.commit()
    assert counted(second) == 0
    assert len(place.builds()) == 1
