"""Every way to another's data, tried by real containers on a stock Debian kernel, under what refuses before the fact."""

from __future__ import annotations

import base64
import gzip
import json
import re
import tempfile
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future
from functools import cache, partial
from pathlib import Path

import pytest

from enforcer.core.model import Mechanism
from tests.attacks.ground import compile_attacker
from tests.attacks.judge import word
from tests.attacks.play import possible
from tests.attacks.told import Played
from tests.attacks.ways import PREVENTION, Way

from .machine import Machine, Result

pytestmark = pytest.mark.timeout(1500)

SCRIPT = Path(__file__).parent / "guest" / "attacks.sh"
CMDLINE = {Mechanism.LSM: "", Mechanism.FMOD_RET: "lsm=lockdown,capability,landlock,yama"}
HOSTILE = 3
"""Files with hostile names."""


def unpacked(program: Path) -> str:
    """The lines that write a program to the machine's /tmp: compiling it there would cost each boot seconds."""
    packed = base64.b64encode(gzip.compress(program.read_bytes())).decode()
    return f"base64 -d <<'END' | gunzip >/tmp/{program.name} && chmod 755 /tmp/{program.name}\n{packed}\nEND\n"


@cache
def prologue() -> str:
    """What brings the attacker's programs into a machine."""
    with tempfile.TemporaryDirectory() as tools:
        compile_attacker(Path(tools))
        return "".join(map(unpacked, (Path(tools, "attacker"), Path(tools, "speaker"))))


def boot(machine: Machine, mechanism: Mechanism) -> Result:
    """The script, run once under a mechanism."""
    script = f"export ENFORCER_MECHANISM={mechanism.name.lower()}\n{prologue()}{SCRIPT.read_text()}"
    return machine.run(script, cmdline=CMDLINE[mechanism], memory_mib=2048, cpus=1, timeout_s=900)


BOOTS = {f"attacks {mechanism.name}": partial(boot, mechanism=mechanism) for mechanism in PREVENTION}


@pytest.fixture(scope="module")
def played(boots: Mapping[str, Future[Result]]) -> dict[Mechanism, Played]:
    """What came of it under each mechanism."""
    found = {}
    for mechanism in PREVENTION:
        result = boots[f"attacks {mechanism.name}"].result()
        assert result.exit_code == 0, result.output + result.files.get("agent.log", b"").decode()
        found[mechanism] = Played.from_json(result.files["played.json"])
    return found


@pytest.mark.parametrize("mechanism", PREVENTION, ids=lambda m: m.name.lower())
@pytest.mark.parametrize("way", possible(Mechanism.LSM), ids=lambda w: w.key)
def test_way_ends_as_declared(played: dict[Mechanism, Played], way: Way, mechanism: Mechanism) -> None:
    """It leads to the secret without the enforcer; under it, it ends as the README says, is counted and on record."""
    assert word(way, played[mechanism]) is way.expected(mechanism)


@pytest.mark.parametrize("mechanism", PREVENTION, ids=lambda m: m.name.lower())
def test_every_group_of_hooks_is_held(played: dict[Mechanism, Played], mechanism: Mechanism) -> None:
    """Where one is not, all its ways would fail, and none would say why."""
    held = played[mechanism].held
    groups = ("open", "change", "receive", "unix", "trace", "mount", "escape", "guard")
    assert {g: held.get(g) for g in groups if held.get(g) != mechanism.name.lower()} == {}


@pytest.mark.parametrize("mechanism", PREVENTION, ids=lambda m: m.name.lower())
def test_every_count_has_its_record(played: dict[Mechanism, Played], mechanism: Mechanism) -> None:
    """What was counted is recorded, suppressed by the budget, or lost for a cause; nothing else was counted."""
    counts = played[mechanism].counts
    assert counts["counted"] == counts["recorded"] + counts["suppressed"] + sum(counts["lost"].values())
    assert played[mechanism].strays == []


@pytest.mark.parametrize("mechanism", PREVENTION, ids=lambda m: m.name.lower())
def test_hostile_names_are_escaped_in_the_journal(played: dict[Mechanism, Played], mechanism: Mechanism) -> None:
    """One event stands on one line, without a control character, whatever the file is called."""
    lines = played[mechanism].journal
    assert Counter(json.loads(line)["event"]["kind"] for line in lines) == {"alert": HOSTILE}
    assert [line for line in lines if re.search(r"[\x00-\x1f\x7f]", line)] == []
