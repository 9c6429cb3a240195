"""What a round printed, and how two rounds differ."""

from __future__ import annotations

from collections.abc import Mapping

Steps = Mapping[tuple[str, str], tuple[tuple[str, str], ...]]
"""(workload, step) → (exit status, output) of each time that a step of that name was done."""

# What fails without an agent too, because it must: the container has no right to it, whoever watches.
FAILING = frozenset(
    {
        ("programs", "pip: gone"),
        ("confined", "read-only root"),
        ("confined", "read-only root, changed"),
        ("confined", "read-only root, removed"),
        ("confined", "files of root"),
        ("confined", "what belongs to another user"),
        ("confined", "chown"),
        ("confined", "mknod"),
        ("confined", "kernel settings"),
        ("power", "read-only bind mount"),
        ("mixed", "read-only bind mount"),
        # an overlay of a 6.1 kernel makes no nameless file
        ("mixed", "in the layer: nameless_file_that_gets_a_name"),
        ("engine", "exec as a user"),
        ("engine", "a process that ends by a signal"),
    }
)


def read_steps(text: str) -> Steps:
    """The steps of what round.sh printed. A line of another form is an error: a workload has ended before its time."""
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for line in text.splitlines():
        assert line.count("\t") == 3, f"no step: {line}"
        workload, step, status, output = line.split("\t")
        found.setdefault((workload, step), []).append((status, output))
    return {key: tuple(ends) for key, ends in found.items()}


def failed(steps: Steps) -> set[tuple[str, str]]:
    """The steps that did not end well each time."""
    return {key for key, ends in steps.items() if any(status != "0" for status, _ in ends)}


def differences(one: Steps, other: Steps) -> dict[tuple[str, str], tuple[object, object]]:
    """The steps that ended otherwise, said otherwise, or were not done, in one of two rounds."""
    return {
        key: (one.get(key), other.get(key))
        for key in sorted(one.keys() | other.keys())
        if one.get(key) != other.get(key)
    }
