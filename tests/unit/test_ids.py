"""Numbers are given once, kept, and found again."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcer.core.ids import FIRST_ID, Ids, Reserved, Space, allocate
from enforcer.core.model import Kind, ObjectId
from enforcer.errors import AbiError
from tests.unit.worlds import GUIDE, GUIDE_FACTS, SELECTOR, facts, hosts, policies

_wanted = st.lists(st.tuples(st.sampled_from(Space), st.text(max_size=4)))


@given(first=_wanted, second=_wanted)
def test_a_number_is_kept_and_never_given_twice(first, second):
    """Whatever is asked for later, what has a number keeps it, and all numbers differ and are not reserved ones."""
    ids = Ids().with_numbers(first)
    later = ids.with_numbers(second)
    assert all(later.known[name] == number for name, number in ids.known.items())
    assert len(set(later.known.values())) == len(set(first) | set(second))
    assert all(FIRST_ID <= number < later.next for number in later.known.values())


@given(wanted=_wanted)
def test_ids_survive_json(wanted):
    """What the agent saves in its state directory comes back as it was."""
    ids = Ids().with_numbers(wanted)
    assert Ids.from_json(json.loads(json.dumps(ids.to_json()))) == ids


def test_a_container_that_comes_back_does_not_get_anothers_number():
    """A container that is gone keeps its number in the saved ids, and the next one gets a fresh one."""
    ids = allocate(Ids(), GUIDE, GUIDE_FACTS)
    without = allocate(ids, GUIDE, facts())
    assert without.subject(SELECTOR.id) == ids.subject(SELECTOR.id)
    assert without.next == ids.next


@given(policy=policies, host=hosts())
def test_allocation_is_stable(policy, host):
    """Allocating again for the same policy and host gives no new number."""
    ids = allocate(Ids(), policy, host)
    assert allocate(ids, policy, host) is ids


def test_reverse_lookups():
    """From the number in a kernel record to the name that it had; reserved and foreign numbers have none."""
    ids = allocate(Ids(), GUIDE, GUIDE_FACTS)
    config = ObjectId(Kind.VOLUME, "mcp-01-selector-config")
    assert ids.container_of(ids.subject(SELECTOR.id)) == SELECTOR.id
    assert ids.object_of(ids.object(config)) == config
    assert ids.network_of(ids.network("n-internal")) == "n-internal"
    assert ids.container_of(Reserved.CANARY) is None
    assert ids.object_of(ids.subject(SELECTOR.id)) is None


def test_a_path_with_a_colon_survives_the_lookup():
    """Only the first colon of an object's key separates."""
    target = ObjectId(Kind.PATH, "/srv/a:b")
    ids = Ids().with_numbers([(Space.OBJECT, "path:/srv/a:b")])
    assert ids.object_of(ids.object(target)) == target


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"next": 18, "subject": {"a": 16}, "object": {"b": 16}, "network": {}, "profile": {}},
        {"next": 18, "subject": {"a": 3}, "object": {}, "network": {}, "profile": {}},
        {"next": 17, "subject": {"a": 17}, "object": {}, "network": {}, "profile": {}},
        {"next": 17, "subject": ["a"], "object": {}, "network": {}, "profile": {}},
        {"next": 17, "subject": {"a": "x"}, "object": {}, "network": {}, "profile": {}},
    ],
    ids=["empty", "twice", "reserved", "not below next", "a list", "no number"],
)
def test_malformed_saved_ids_are_refused(document):
    """Ids that were damaged on disk are never guessed: a wrong number would be another container."""
    with pytest.raises(AbiError, match="saved ids"):
        Ids.from_json(document)
