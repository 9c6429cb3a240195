"""Selectors and globs: which containers a name stands for, and that no container's name widens a grant."""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from enforcer.core.event import Who
from enforcer.core.model import Container, Mode, Policy, Selector
from enforcer.core.select import fill, glob_match, is_plain, matches, may_overlap, named

AGENT = Container(
    id="a" * 64,
    name="mcp-01-selector",
    image="registry.example/agent:1.2",
    labels={"role": "agent", "tier": "back"},
)

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # the machine may be busy
few = st.text(alphabet="ab-[]*?!\n", max_size=6)
sound = st.lists(st.sampled_from(["a", "b", "-", "*", "?", "[ab]", "[!a]", "[[]"]), max_size=5).map("".join)


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        (Selector(name="mcp-01-selector"), True),
        (Selector(name="mcp-*"), True),
        (Selector(name="mcp-[0-9][0-9]-*"), True),
        (Selector(name="mcp-[!0]*"), False),
        (Selector(name="MCP-*"), False),
        (Selector(name="mcp-0"), False),
        (Selector(name="cp-*"), False),
        (Selector(name="mcp-*", excluded=("mcp-01-*",)), False),
        (Selector(name="mcp-*", excluded=("mcp-02-*", "x")), True),
        (Selector(image="registry.example/agent:*"), True),
        (Selector(image="registry.example/agent"), False),
        (Selector(label={"role": "agent"}), True),
        (Selector(label={"role": "a*", "tier": "back"}), True),
        (Selector(label={"role": "agent", "tier": "front"}), False),
        (Selector(label={"absent": "*"}), False),
        (Selector(name="mcp-*", image="other:*"), False),
        (Selector(name="mcp-*", image="*", label={"role": "*"}), True),
    ],
    ids=str,
)
def test_every_criterion_must_hold(selector, expected):
    """A container is selected when name, image and labels all match and no exception takes it out."""
    assert matches(selector, AGENT) is expected


def test_a_recorded_container_is_selected_like_a_live_one():
    """Replay asks with the ``Who`` of an event and gets the same names."""
    policy = Policy(
        mode=Mode.ENFORCE,
        containers={
            "agents": Selector(name="mcp-*"),
            "back": Selector(label={"tier": "back"}),
            "db": Selector(name="db"),
        },
    )
    who = Who(id=AGENT.id, name=AGENT.name, image=AGENT.image, labels=AGENT.labels)
    assert named(policy, AGENT) == named(policy, who) == {"agents", "back"}


def test_a_container_may_match_nothing():
    """A container that no selector matches has no names: it is unnamed."""
    assert named(Policy(mode=Mode.ENFORCE, containers={"db": Selector(name="db")}), AGENT) == frozenset()


@unhurried
@given(few, st.sampled_from(["{name}-data", "{name}", "x-{name}-{name}", "{name}*"]))
def test_a_name_stands_for_itself_only(name, pattern):
    """Filling in a name gives a glob that matches the name literally, whatever metacharacters the name holds."""
    parts = [re.escape(p).replace(r"\*", ".*") for p in pattern.split("{name}")]
    expected = re.compile(re.escape(name).join(parts), re.DOTALL)
    filled = fill(pattern, name)
    for text in (pattern.replace("{name}", name), pattern.replace("{name}", "ab"), pattern.replace("{name}", "")):
        assert glob_match(filled, text) is (re.fullmatch(expected, text) is not None)


@pytest.mark.parametrize("name", ["*", "mcp-*", "?cp", "[a-z]", "[!x]", "{name}"])
def test_a_name_with_metacharacters_does_not_widen_a_grant(name):
    """A container called ``*`` is granted ``*-data`` and no other container's volume."""
    filled = fill("{name}-data", name)
    assert glob_match(filled, f"{name}-data")
    assert not any(glob_match(filled, f"{other}-data") for other in ("mcp-01", "acp", "a", "mcp-01-selector"))


@unhurried
@given(few)
def test_a_star_matches_everything(text):
    """``*`` matches any text, newlines included."""
    assert glob_match("*", text)


@pytest.mark.parametrize("text", ["mcp-01\n", "mcp-01\nx", "\nmcp-01", "xmcp-01", "mcp-01x", "MCP-01"])
def test_a_match_is_whole_and_case_sensitive(text):
    """Nothing before, nothing after, no newline overlooked at the end, no folding of case."""
    assert not glob_match("mcp-01", text)
    assert not glob_match("mcp-0[1]", text)


@unhurried
@given(sound, sound, st.text(alphabet="ab-[", max_size=5))
@example("a*", "*b", "ab")
def test_globs_that_meet_are_never_called_apart(one, other, text):
    """If some text matches both globs, they may overlap."""
    if glob_match(one, text) and glob_match(other, text):
        assert may_overlap(one, other)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("mcp-a", "mcp-a", True),
        ("mcp-a", "mcp-b", False),
        ("mcp-*", "mcp-a", True),
        ("mcp-*", "db", False),
        ("mcp-*", "mcp-*-config", True),
        ("mcp-*", "mpc-*-config", False),
        ("*-data", "*-logs", False),
        ("*", "[ab]?", True),
    ],
)
def test_globs_apart(one, other, expected):
    """Two globs with different beginnings or ends have no text in common; the order does not matter."""
    assert may_overlap(one, other) is may_overlap(other, one) is expected


@unhurried
@given(sound)
def test_a_plain_pattern_matches_itself(pattern):
    """What is called plain matches itself and not another text."""
    if is_plain(pattern):
        assert glob_match(pattern, pattern)
        assert not glob_match(pattern, pattern + "a")
