"""What the benches claim: when a target is met, and when a difference is one."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from bench import results
from bench.figure import Figure
from bench.paired import difference, interleaved


def test_a_target_is_held_against_the_median():
    """The best of many runs proves nothing; where more is better the comparison turns round."""
    cost = Figure.of("cost", "ns", [90, 160, 170], must=150, aim=100)
    assert (cost.minimum, cost.median, cost.met(cost.must), cost.met(None)) == (90, 160, False, None)
    rate = Figure.of("rate", "events/s", [90, 160, 170], must=150, aim=165, more_is_better=True)
    assert (rate.minimum, rate.met(rate.must), rate.met(rate.aim)) == (170, True, False)
    busy = Figure.of("difference", "ns", [-3, 1, 9], must=2, told=False)
    assert busy.met(busy.must) is None


def test_what_takes_turns_takes_turns():
    """A, B, A, B: the first round warms up and is not told."""
    order = []

    def action(name):
        def run():
            order.append(name)
            return float(len(order))

        return run

    found = interleaved({"a": action("a"), "b": action("b")}, batches=2)
    assert order == ["a", "b", "a", "b", "a", "b"]
    assert found == {"a": [3.0, 5.0], "b": [4.0, 6.0]}


@given(st.lists(st.floats(0, 100), min_size=31, max_size=31), st.floats(1, 50))
def test_a_constant_cost_is_told(base, cost):
    """However much else varies, if it meets both alike."""
    assert difference(base, [value + cost for value in base]).told


def test_noise_is_no_difference():
    """Half of the pairs say more, half say less."""
    base = [10.0] * 32
    assert not difference(base, [9.0, 11.0] * 16).told
    assert not difference(base, base).told


def test_results_keep_what_other_runs_have_found(tmp_path: Path):
    """A run of one bench leaves the others' sections, and says of itself when it ran and how busy the machine was."""
    figure = results.Table(("what",), [("x",)], [Figure("x", "ns", 1, 2, must=3)])
    results.write("tracepoint", {"one": results.section(figure, (0.5, 0.7), 3.2)}, tmp_path)
    path = results.write("tracepoint", {"two": results.section(figure, (0, 0), 1)}, tmp_path)
    found = json.loads(path.read_text())
    assert found["mechanism"] == "tracepoint"
    assert found["machine"]["cores"]
    assert set(found["benches"]) == {"one", "two"}
    one = found["benches"]["one"]
    assert one["load_average"] == {"before": 0.5, "after": 0.7}
    assert one["figures"][0]["met"] == {"must": True, "aim": None}
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
