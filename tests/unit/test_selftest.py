"""The self-test without a kernel: what a look proves, what is said of it, and when."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from enforcer.core.model import Access, Hook, Mechanism
from enforcer.edges.bpf.programs import PROGRAMS
from enforcer.edges.cgroup import Cgroups
from enforcer.errors import EdgeError
from enforcer.runtime.attempts import Attempts, smallest_program
from enforcer.runtime.ladder import GROUPS, Hold, rungs
from enforcer.runtime.mend import reattach
from enforcer.runtime.proof import ATTEMPTS, LIFE, UNTRIED, Finding, Look, Proof, attempt_of, judge, kept_as, wanted
from enforcer.runtime.selftest import SelfTest, plain
from enforcer.runtime.supervisor import Supervisor
from enforcer.settings import CANARY_S

LSM, TRACEPOINT, CGROUP = Mechanism.LSM, Mechanism.TRACEPOINT, Mechanism.CGROUP
BROKEN = Finding({"open": "forbidden, but not killed"}, (Proof("open", TRACEPOINT, stopped=False, why="forbidden"),))
SOUND = Finding({}, (Proof("open", TRACEPOINT, True, True, True),))


def look(outcome: dict[str, str], *, rise: dict[str, int] | None = None, **more: Any) -> Look:
    """A look at attempts of which each was counted once, unless told otherwise."""
    counted = {kept_as(name): 1 for name in outcome} if rise is None else rise
    return Look(outcome, more.pop("lived", dict.fromkeys(LIFE, True)), counted, **more)


@pytest.mark.parametrize(
    ("group", "by", "outcome", "stopped"),
    [
        ("open", LSM, "refused", True),
        ("open", LSM, "done", False),
        ("open", LSM, "killed", False),
        ("open", TRACEPOINT, "killed", True),
        ("open", TRACEPOINT, "done", False),
        ("open", TRACEPOINT, "refused", False),
        ("receive", LSM, "done", False),
        ("connect6", CGROUP, "refused", True),
        ("connect6", CGROUP, "ENETUNREACH", False),
        ("trace", LSM, "EFAULT", False),
    ],
)
def test_each_mechanism_has_its_way_to_stop(group: str, by: Mechanism, outcome: str, stopped: bool) -> None:
    """Refused before the fact, or killed after it: anything else is a failure that says what was seen."""
    found = judge({group: by}, look({group: outcome}))
    assert found.proofs[0].stopped is stopped
    assert found.success is stopped
    assert stopped or f"{group}: {outcome}" in found.failures[group]


def test_the_best_mechanism_stands_first() -> None:
    """What refuses before what kills, and what looks at one kernel function before what looks at every system call."""
    best_first = (LSM, Mechanism.FMOD_RET, Mechanism.FEXIT, CGROUP, TRACEPOINT)
    for group in GROUPS:
        found = [mechanism for mechanism, _ in rungs(group)]
        assert found == [mechanism for mechanism in best_first if mechanism in found], group


def test_a_group_holds_if_each_of_its_operations_does() -> None:
    """One operation that nobody stops is named, and the whole group is not held."""
    outcome = dict.fromkeys(ATTEMPTS["change"], "refused") | {"rename": "done"}
    assert "rename: done" in judge({"change": LSM}, look(outcome)).failures["change"]
    silent = {kept_as(name): int(name != "unlink") for name in outcome}
    found = judge({"change": LSM}, look(dict.fromkeys(ATTEMPTS["change"], "refused"), rise=silent))
    assert found.failures == {"change": "stopped, but not counted (unlink)"}


def test_what_is_counted_must_be_recorded() -> None:
    """A record for each count has to reach the log's reader; without a reader nothing is said about it."""
    stopped = {"open": "refused"}
    assert judge({"open": LSM}, look(stopped)).proofs[0].recorded is None
    assert judge({"open": LSM}, look(stopped, written={"open": 1})).proofs[0].recorded is True
    found = judge({"open": LSM}, look(stopped, written={"unlink": 1}))
    assert found.failures == {"open": "stopped, but no record reached the log's reader (open)"}


def test_what_others_refuse_is_only_recorded() -> None:
    """The kernel keeps no count of it."""
    refused = {"refused": "EROFS"}
    assert judge({"refused": Mechanism.FEXIT}, look(refused, rise={}, written={"refused": 1})).success
    assert not judge({"refused": Mechanism.FEXIT}, look(refused, rise={}, written={})).success


def test_nothing_is_claimed_that_was_not_tried() -> None:
    """What cannot be tried here is no failure and no proof; it says why."""
    found = judge(
        {"connect6": CGROUP, "mount": LSM, "change": None}, look({"connect6": "EAFNOSUPPORT"}, rise={}, written={})
    )
    assert found.success
    assert [(p.group, p.stopped) for p in found.proofs] == [("connect6", None), ("mount", None), ("change", None)]
    assert all(p.why for p in found.proofs)


@pytest.mark.parametrize("group", ["open", "connect4", "birth"])
def test_what_every_host_can_hold_is_missed(group: str) -> None:
    """Nothing holds it: the self-test has failed, since that is no mere degradation."""
    assert judge({group: None}, look({})).failures == {group: f"nothing holds {group}"}


@pytest.mark.parametrize("part", LIFE)
def test_a_life_that_is_not_followed(part: str) -> None:
    """A container that is not noticed when it is born, starts or goes would not be governed, or for ever."""
    lived = {name: name != part for name in LIFE}
    found = judge(dict.fromkeys(LIFE, TRACEPOINT), look({}, lived=lived))
    assert set(found.failures) == {part}


def test_every_group_of_programs_is_tried_or_said_not_to_be() -> None:
    """Whoever adds a group has to say how it is proved."""
    groups = {p.group for p in PROGRAMS}
    assert groups - ATTEMPTS.keys() - set(LIFE) - UNTRIED.keys() == set()
    names = {name for group in ATTEMPTS.values() for name in group}
    assert [name for name in names if not callable(getattr(Attempts, name, None))] == []


def test_only_what_is_held_is_tried() -> None:
    """Nothing is tried for a group that nothing holds, and what needs a reader or a guard is left out without one."""
    assert wanted({"open": LSM, "change": None}, with_records=True) == ["open"]
    assert wanted({"refused": LSM}, with_records=False) == []
    assert wanted({"guard": LSM, "arm": TRACEPOINT}, with_records=True, guarded=["map"]) == ["arm", "held_map"]
    assert wanted({"io_uring": LSM, "unix": LSM}, with_records=True) == ["unix", "datagram"]
    assert wanted({"io_uring": TRACEPOINT, "unix": TRACEPOINT}, with_records=True) == ["io_uring", "unix"]


def test_counts_are_told_apart() -> None:
    """An open to execute is not an open to read; a hook of another build is not ours to name."""
    assert attempt_of(Hook.OPEN, Access.READ) == "open"
    assert attempt_of(Hook.OPEN, Access.READ | Access.EXEC) == attempt_of(Hook.EXEC, Access.EXEC) == "exec"
    assert attempt_of(Hook.SETXATTR, Access.WRITE) == kept_as("acl") == kept_as("removexattr")
    assert attempt_of(200, 0) == "unknown"


def test_the_smallest_program_is_one() -> None:
    """An ELF program, small enough to be written each minute."""
    assert smallest_program().startswith(b"\x7fELF")
    assert len(smallest_program()) < 200


class Told:
    """Remembers notices, and attaches anew what ``lost`` names."""

    def __init__(self, *findings: Finding | EdgeError, lost: tuple[str, ...] = ()) -> None:
        self.findings: Iterator[Finding | EdgeError] = iter(findings)
        self.lost = lost
        self.notices: list[tuple[str, str, str]] = []
        self.test = SelfTest(run=self.run, reattach=self.reattach, notify=self.notify)

    def run(self) -> Finding:
        """The next finding."""
        found = next(self.findings)
        if isinstance(found, EdgeError):
            raise found
        return found

    def reattach(self, groups: Collection[str]) -> Collection[str]:
        """Those that were lost."""
        return [group for group in groups if group in self.lost]

    def notify(self, action: str, message: str, *, outcome: str = "success", **_: str | int) -> None:
        """Keep it."""
        self.notices.append((action, outcome, message))

    @property
    def actions(self) -> list[tuple[str, str]]:
        """The notices without their words."""
        return [notice[:2] for notice in self.notices]


def test_a_sound_self_test_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Passed, the first time and each time after it: no notice and no log line."""
    told = Told(SOUND, SOUND)
    assert told.test.finding.success is False
    assert [told.test.check().finding.success for _ in range(2)] == [True, True]
    assert (told.notices, caplog.records) == ([], [])
    assert told.test.time > 0


def test_a_failure_is_said_once_on_record_and_each_time_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Every minute a critical line; one notice when it begins and one when it ends."""
    told = Told(SOUND, BROKEN, BROKEN, SOUND)
    for _ in range(4):
        told.test.check()
    assert told.actions == [("selftest-failed", "failure"), ("selftest-passed", "success")]
    assert "open: forbidden, but not killed" in told.notices[0][2]
    assert [r.levelname for r in caplog.records] == ["CRITICAL", "CRITICAL", "WARNING"]


def test_a_canary_that_cannot_run_is_a_failure() -> None:
    """An error on the way is no excuse: what is not proved is not claimed."""
    told = Told(EdgeError("cgroup gone"), SOUND)
    assert told.test.check().finding.failures == {"canary": "cgroup gone"}
    assert told.test.check().finding.success
    assert told.actions == [("selftest-failed", "failure"), ("selftest-passed", "success")]


@pytest.mark.parametrize(("second", "held"), [(SOUND, True), (BROKEN, False)])
def test_what_was_detached_is_attached_once_and_looked_at(second: Finding, held: bool) -> None:
    """It is attached anew and tried; the failure stands until the next check, so that a scrape sees it."""
    told = Told(BROKEN, second, lost=("open",))
    check = told.test.check()
    assert (check.reattached, check.finding) == ({"open": held}, BROKEN)
    assert told.test.finding is BROKEN
    assert told.actions == [("selftest-failed", "failure"), ("probe-reattached", "success" if held else "failure")]
    assert plain(check)["groups"][0]["stopped"] is False


def test_what_is_attached_and_fails_is_left_alone() -> None:
    """If nothing was detached there is nothing to attach: no second look, no notice of it."""
    told = Told(BROKEN)
    assert told.test.check().reattached == {}
    assert told.actions == [("selftest-failed", "failure")]


def test_what_is_held_by_no_program_cannot_be_attached() -> None:
    """Audit only looks, and has no link that could be lost: mending asks nothing of probes that are none."""

    class Watching:
        holds = (Hold("change", Mechanism.AUDIT), Hold("open", None))

    assert reattach(Watching(), Cgroups(Path("/nowhere")), ["change", "open", "no such group"]) == ()


def test_the_canary_runs_every_minute() -> None:
    """Whoever breaks a probe is found within a minute; and the loop that does it goes on after failures."""
    assert CANARY_S <= 60
    enough, found = threading.Event(), iter([SOUND, BROKEN, EdgeError("gone"), SOUND])
    told = Told()

    def run() -> Finding:
        following = next(found, None)
        if following is None:
            enough.set()
        if isinstance(following, EdgeError):
            raise following
        return following or SOUND

    test = SelfTest(run=run, reattach=told.reattach, notify=told.notify)
    supervisor = Supervisor()
    supervisor.every("canary", 0.001, test.check)
    assert enough.wait(30)
    supervisor.stop()
    assert supervisor.failure is None
    assert [a for a, _ in told.actions] == ["selftest-failed", "selftest-failed", "selftest-passed"]
