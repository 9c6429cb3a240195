"""Counting goes on across an upgrade: what the build before has counted, lost and recorded is the next one's, too."""

from __future__ import annotations

from pathlib import Path

from enforcer import abi
from enforcer.core.event import Event
from enforcer.core.image import Image, State, Subject, Table
from enforcer.core.model import Facts, Hook, Mechanism, Verdict
from enforcer.core.plan import Delete, Put
from enforcer.edges.bpf.accounts import Account
from enforcer.edges.bpf.loader import Source
from enforcer.edges.bpf.maps import Maps
from enforcer.edges.bpf.ring import Rings
from enforcer.edges.journal import Journal
from enforcer.edges.segments import read
from enforcer.runtime.carry import carry
from enforcer.runtime.pipeline import Pipeline
from enforcer.runtime.probes import Probes, _rings
from enforcer.runtime.reconcile import Snapshot
from enforcer.runtime.records import Records
from enforcer.runtime.state import State as AgentState
from enforcer.sinks.journal import JournalSink
from tests.kernel.test_pins import Place, other, place
from tests.scenarios import policy

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

    def read_out(rings: Rings, maps: Maps) -> None:
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
    first.maps.accounts.add({Account(abi.RECORDED, 0, SUBJECT): 3})
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


def test_repeats_and_accounts_of_the_build_before_are_taken_over_once(
    place: Place, other: Source, tmp_path: Path
) -> None:
    """What was repeated there is on record as the next one's, and a start that dies before it can say so adds nothing again."""
    first, _ = put_in_force(place)
    key = abi.RepeatKey(what=KEY, generation=1, window=7)
    event = abi.CEvent(
        subject=SUBJECT, object=21, class_=abi.DATA, hook=Hook.OPEN, mechanism=Mechanism.LSM, verdict=Verdict.DENIED
    )
    first.maps.put_row("repeats", bytes(key), abi.Repeat(more=4, first=event))
    first.maps.add_count(KEY, 4)
    place.leave(first)
    second = place.probes(other)
    second.commit()
    snapshot = Snapshot(policy(), Facts(), Image(1), AgentState())
    with Journal(tmp_path / "journal") as journal:
        records = Records(lambda _: snapshot, place.cgroups)
        reader = Pipeline(second.rings(), second.open_maps(), records, JournalSink(journal), born=lambda _: None)
        [(_, older)] = second._older
        reader.read_out(_rings(older), older)
        assert carry(older, second.maps) == 4
        carry(older, second.maps)
        second.hand_over(reader.read_out)
        told = [item for item in read([tmp_path / "journal"]) if isinstance(item, Event)]
    assert [event.count for event in told] == [4]
    assert (counted(second), second.maps.recorded()[SUBJECT]) == (4, 4)
