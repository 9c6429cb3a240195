"""The attack loop of ``hammer.c``: how it is built, and what its log proves."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("hammer.c")
DONE = "done"
READY = "ready"


@dataclass(frozen=True)
class Phase:
    """The tries of one deed in one phase. ``outcomes``: "done", "killed" or the errno's name → how often."""

    outcomes: dict[str, int]
    longest_us: int
    length_us: int

    @property
    def tries(self) -> int:
        """How often it was tried."""
        return sum(self.outcomes.values())


@dataclass(frozen=True)
class Log:
    """What a loop wrote when it was ended: deed → its phases in order."""

    deeds: dict[str, list[Phase]]

    @classmethod
    def read(cls, text: str) -> Log:
        """Of the loop's last line."""
        said = json.loads(text.splitlines()[-1])
        lengths = said["lengths_us"]
        return cls(
            {
                deed: [Phase(p["outcomes"], p["longest_us"], n) for p, n in zip(phases, lengths, strict=True)]
                for deed, phases in said["deeds"].items()
            }
        )

    def phases(self, deed: str, names: list[str]) -> dict[str, Phase]:
        """The phases by name."""
        return dict(zip(names, self.deeds[deed], strict=True))

    def gaps(self, deed: str, names: list[str], refused: str) -> dict[str, Phase]:
        """Phases, but the last two, that are no proof: another outcome than ``refused``, or a loop that stood still."""
        found = list(self.phases(deed, names).items())[:-2]
        return {name: p for name, p in found if set(p.outcomes) != {refused} or p.longest_us >= p.length_us}

    def tries(self, deed: str) -> int:
        """How often a deed was tried in all."""
        return sum(phase.tries for phase in self.deeds[deed])


def build(directory: Path) -> Path:
    """The loop as a static program, which runs in any container."""
    program = directory / "hammer"
    flags = ["-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-O2", "-static"]
    subprocess.run(["gcc", *flags, "-o", program, SOURCE], check=True)
    return program
