"""The README's table of ways and mechanisms. ``python -m tests.attacks.table`` writes it."""

from __future__ import annotations

from pathlib import Path

from tests.attacks.ways import MECHANISMS, WAYS, Way

README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- ways: begin -->", "<!-- ways: end -->"

INTRODUCTION = """
### Ways round

Every way below is tried by real containers, once without the enforcer, where each must succeed, and once under each mechanism:
`lsm` and `fmod_ret` on a stock Debian 6.1 kernel in a VM, `tracepoint` natively (`tests/attacks`; this table is generated from
what those tests hold the kernel to).

**stopped**: refused before the fact, counted and recorded. **killed**: the process died before it had anything; counted and
recorded. **killed, too late**: it died, counted and recorded, but had what it wanted. **seen**: it had what it wanted; counted
and recorded. **not seen**: it had what it wanted, and nobody knows. **(VM only)**: the machine that tests `tracepoint` gives no
container what this needs.
"""


def rows() -> dict[str, list[Way]]:
    """The ways of each row, in their order."""
    found: dict[str, list[Way]] = {}
    for way in WAYS:
        found.setdefault(way.row, []).append(way)
    return found


def block() -> str:
    """The marked block, marks included."""
    head = ["way", *(m.name.lower() for m in MECHANISMS)]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row, ways in rows().items():
        words = [" / ".join(dict.fromkeys(w.expected(m) for w in ways)) for m in MECHANISMS]
        lines.append(f"| {' | '.join((row, *words))} |")
    return "\n".join((BEGIN, INTRODUCTION, *lines, "", END))


def written(text: str) -> str:
    """``text`` with the block of today in the place of the one that it has."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no {BEGIN} … {END} in the text")
    return before + block() + after


if __name__ == "__main__":
    README.write_text(written(README.read_text()))
