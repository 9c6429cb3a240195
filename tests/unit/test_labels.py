"""Labels in a record: bounded, whole, and first those that decide."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcer.core.labels import MOST, recorded
from enforcer.core.model import Access, Selector, Verdict
from enforcer.core.replay import replay
from enforcer.core.select import named
from enforcer.core.words import escape
from enforcer.edges.ecs import decode, encode
from enforcer.runtime.records import Records
from tests.unit.test_replay import OPEN_DOOR, denied
from tests.unit.test_runtime import ALPHA, FACTS, policy, reconcile_in, record

HUGE = {f"z{n}": "x" * 4096 for n in range(100)}
TEXT = st.text(max_size=20) | st.sampled_from(["x" * 9000, "é" * 9000, "\n" * 5000, "x" * (1 << 20)])
LABELS = st.dictionaries(TEXT, TEXT, max_size=8)


def size(labels):
    """As it is written."""
    return sum(len(escape(text).encode()) for pair in labels.items() for text in pair)


@given(labels=LABELS, wanted=st.lists(TEXT, max_size=3))
def test_labels_are_bounded_and_whole(labels, wanted):
    """None is changed, what was left out is counted, and what a selector names goes before what none does."""
    selectors = [Selector(label={key: "*"}) for key in wanted]
    kept, cut = recorded(labels, selectors)
    assert size(kept) <= MOST
    assert kept.items() <= labels.items()
    assert cut == len(labels) - len(kept)
    decisive = {key: labels[key] for key in wanted if key in labels}
    if size(decisive) <= MOST:
        assert decisive.items() <= kept.items()
    if size(labels) <= MOST:
        assert kept == labels


def test_few_labels_are_the_same_mapping():
    """So that whoever compares them need not look into them."""
    labels = {"role": "agent"}
    assert recorded(labels, [])[0] is labels


@pytest.mark.parametrize("first", [True, False])
def test_what_a_selector_looks_at_is_in_the_record(tmp_path, first):
    """Wherever among them it stands: the event of a container with 400 KB of labels is short, and says that some are missing."""
    labels = {"role": "db", **HUGE} if first else {**HUGE, "role": "db"}
    facts = replace(FACTS, containers={ALPHA: replace(FACTS.containers[ALPHA], labels=labels)})
    selecting = replace(policy(), containers={**policy().containers, "databases": Selector(label={"role": "d*"})})
    reconcile = reconcile_in(tmp_path)
    ids = reconcile.load(selecting, facts).state.ids
    raw = record(subject=ids.subject(ALPHA), class_=1, hook=1, mechanism=1, verdict=2, mode=1, asked=1)
    who = Records(reconcile.at, None).event(raw, 0).who
    assert (who.labels["role"], who.labels_cut) == ("db", len(labels) - len(who.labels))
    assert who.labels_cut > 90
    line = encode(denied(who=who), 1)
    assert len(line) < 2 * MOST
    assert decode(line).who == who
    assert "databases" in named(selecting, who)


def test_replay_judges_by_what_is_left():
    """The policy that was running gives the same verdict again."""
    labels, cut = recorded({**HUGE, "role": "agent"}, [Selector(label={"role": "agent"})])
    by_label = replace(OPEN_DOOR, containers={"agents": Selector(label={"role": "agent"})})
    event = denied(verdict=Verdict.ALLOWED, granted=Access.READ | Access.WRITE)
    event = replace(event, who=replace(event.who, labels=labels, labels_cut=cut))
    [judged] = replay(by_label, [event])
    assert not judged.changed
