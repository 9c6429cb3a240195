"""Counting goes on across an upgrade: what the build before has counted, lost and recorded is the next one's, too."""

from __future__ import annotations

from enforcer import abi
from enforcer.core.model import Hook, Verdict
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


def test_what_was_allowed_is_taken_over(place: Place, other: Source) -> None:
    """Entries that nobody has written down yet wait in the next build's map; those of several rounds add up."""
    first, _ = put_in_force(place)
    for number, value in ((1, (4, 10, 20)), (2, (5, 5, 15))):
        key = bytes(abi.AccessKey(round=number, subject=SUBJECT, object=21, class_=abi.DATA, access=1))
        first.maps.put_row("accesses", key, abi.AccessValue(*value))
    place.leave(first)
    second, _ = put_in_force(place, other)
    [(raw, value)] = second.maps.accesses()
    assert (value.count, value.first_ns, value.last_ns) == (9, 5, 20)
    assert abi.decode(abi.AccessKey, raw).round == 0


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


def test_numbers_of_another_state_are_not_taken(place: Place) -> None:
    """They are about somebody else: the next build counts from nothing."""
    first, _ = put_in_force(place)
    first.maps.add_count(KEY, 5)
    place.leave(first)
    second = place.probes(instance=1)
    second.commit()
    assert counted(second) == 0
    assert len(place.builds()) == 1
