"""Plays the story: runs each step, compares what was seen with what was expected, and says both."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from deploy.demo.acts import Ran, execute, run_stranger
from deploy.demo.agent import Agent, ask
from deploy.demo.internet import Internet
from deploy.demo.metrics import Count, Sample, change, tell
from deploy.demo.process import Process, await_that
from deploy.demo.prometheus import GUIDES_ALERTS, HOSTS_ALERTS, Prometheus
from deploy.demo.story import STORY, Expected, Outcome, Step, expected
from deploy.demo.world import EXPECTED, World, standing
from enforcer.errors import EdgeError

SECRET = "the secret of"  # noqa: S105  a marker, not a password
"""What every secret begins with (``world.secret_of``)."""


@dataclass(frozen=True)
class Seen:
    """What was checked and what came of it; ``wrong`` says what was not as expected, empty if all was."""

    title: str
    command: str
    expected: str
    seen: str
    wrong: tuple[str, ...]

    def __str__(self) -> str:
        lines = (
            f"  {self.title}",
            f"      ran       {self.command}" if self.command else "",
            f"      expected  {self.expected}",
            f"      seen      {self.seen}",
            f"      {'as expected' if not self.wrong else 'FAILED: ' + '; '.join(self.wrong)}",
        )
        return "\n".join(line for line in lines if line)


def play_control(world: World, step: Step) -> Seen:
    """Without the enforcer the attack must succeed; else its failing later would prove nothing."""
    ran = _run(world, step)
    wrong = () if ran.status == 0 and SECRET in ran.output else ("it does not succeed even without the enforcer",)
    return Seen(step.title, told(step, world.images.base), "succeeds: nothing is in force yet", _ended(ran), wrong)


def play_step(world: World, agent: Agent, step: Step) -> Seen:
    """Run it, wait for its count, and judge both."""
    must = expected(step, agent.mechanisms())
    count = _count(step, must)
    before = agent.violations()
    ran = _run(world, step)
    counted = _await_count(agent, before, count)
    return Seen(
        title=step.title,
        command=told(step, world.images.base),
        expected=f"{step.outcome.value}: {_wanted(must)}; {f'{count} +1' if count else 'nothing counted'}",
        seen=f"{_ended(ran)}; {tell(counted)}",
        wrong=judge(step, must, ran=ran, counted=counted),
    )


def judge(step: Step, must: Expected, *, ran: Ran, counted: Mapping[Sample, float]) -> tuple[str, ...]:
    """What was not as expected: in how the command ended, and in what was counted (changes of the counters)."""
    return (*_wrong_end(ran, must, step), *_wrong_count(counted, _count(step, must)))


def _count(step: Step, must: Expected) -> Count | None:
    return step.count and Count(step.count.metric, {**step.count.labels, "action": must.action})


def _run(world: World, step: Step) -> Ran:
    if step.volume:
        return run_stranger(world, step.volume, step.command)
    return execute(world, step.container, step.command)


def _await_count(agent: Agent, before: Mapping[Sample, float], count: Count | None) -> dict[Sample, float]:
    if count:
        try:
            await_that("the count", lambda: any(map(count.matches, change(before, agent.violations()))), seconds=10)
        except EdgeError:
            return change(before, agent.violations())
    return change(before, agent.violations())


def _wrong_end(ran: Ran, must: Expected, step: Step) -> list[str]:
    wrong = []
    if ran.status != must.status:
        wrong.append(f"exit status {ran.status}, not {must.status}")
    if must.says not in ran.output:
        wrong.append(f"it does not say {must.says!r}")
    if step.outcome is not Outcome.ALLOWED and must.action != "observed" and SECRET in ran.output:
        wrong.append("the secret was read")
    return wrong


def _wrong_count(counted: Mapping[Sample, float], count: Count | None) -> list[str]:
    right = {sample: delta for sample, delta in counted.items() if count and count.matches(sample) and delta == 1}
    wrong = [f"counted {tell({sample: delta})}" for sample, delta in counted.items() if sample not in right]
    return [*wrong, "the violation was not counted once"] if count and len(right) != 1 else wrong


def told(step: Step, image: str) -> str:
    """The step as a line for a shell. ``image`` is that of a container that the step makes."""
    if step.volume:
        return f"docker run --rm --network none -v {step.volume}:/stolen {image} {shlex.join(step.command)}"
    return f"docker exec {step.container} {shlex.join(step.command)}"


def _wanted(must: Expected) -> str:
    return f"exit {must.status}" + (f' with "{must.says}"' if must.says else "")


def _ended(ran: Ran) -> str:
    said = ran.output.splitlines()
    return f"exit {ran.status}" + (f' with "{said[-1]}"' if said else "")


def check_mechanisms(agent: Agent, promised: Mapping[str, str]) -> Seen:
    """The running agent holds each hook by the mechanism that ``enforcer doctor`` named beforehand."""
    held = agent.mechanisms()
    return Seen(
        title="the enforcer holds its hooks",
        command=f"enforcer status --run {agent.directory}/run --format json",
        expected="each by what enforcer doctor named at the top",
        seen=", ".join(f"{hook} by {mechanism}" for hook, mechanism in sorted(held.items())),
        wrong=tuple(
            f"{hook} is held by {held.get(hook)}, not {by}" for hook, by in promised.items() if held.get(hook) != by
        ),
    )


def check_arrivals(internet: Internet) -> Seen:
    """The internet's own record: the gateway came through, once, and nobody else."""
    arrivals = internet.arrivals()
    came = [f"{a.protocol}/{a.port} from {a.said or a.peer}" for a in arrivals]
    return Seen(
        title="what arrived in the internet, by its own record",
        command="",
        expected="tcp/443 from workstation, and nothing else",
        seen=", ".join(came) or "nothing",
        wrong=() if came == ["tcp/443 from workstation"] else ("the network did not hold",),
    )


def check_alerts(prometheus: Prometheus) -> Seen:
    """Both alerts of the guide fire in a real Prometheus; none of the enforcer's own health does, whatever the kernel can do."""
    firing = prometheus.await_guides_alerts()
    names = {alert.name for alert in firing}
    missing = [f"{name} does not fire" for name in sorted(GUIDES_ALERTS - names)]
    others = [f"{name} fires" for name in sorted(names - GUIDES_ALERTS - HOSTS_ALERTS)]
    return Seen(
        title="the guide's alerts, in Prometheus",
        command="curl http://127.0.0.1:9490/api/v1/alerts",
        expected=f"{' and '.join(sorted(GUIDES_ALERTS))} fire, and no alert about the enforcer",
        seen="".join(f"\n        {alert}" for alert in firing) or "no alert",
        wrong=(*missing, *others),
    )


def check_standing(world: World, processes: list[Process]) -> Seen:
    """Nothing that the story stands on has fallen meanwhile."""
    absent = sorted(set(EXPECTED) - set(standing(world)))
    dead = [p.name for p in processes if not p.alive]
    return Seen(
        title="roll call",
        command="",
        expected=f"{len(EXPECTED)} containers and {', '.join(p.name for p in processes)} run",
        seen=f"{len(EXPECTED) - len(absent)} containers and {', '.join(p.name for p in processes if p.alive)} run",
        wrong=tuple(f"{name} does not run" for name in (*absent, *dead)),
    )


def check_replay(agent: Agent) -> tuple[Seen, str]:
    """The timeline of the journal tells of every violation: who, or else what. The answer has its text too."""
    replayed = ask("replay", str(agent.journal), check=False)
    counts = [step.count.labels for step in STORY if step.count]
    told = sorted({labels.get("container") or labels["object"] for labels in counts})
    untold = [f"it does not tell of {name}" for name in told if name not in replayed.out]
    failed = [f"exit {replayed.status}: {replayed.err.strip()}"] if replayed.status not in (0, 1) else []
    seen = Seen(
        title="the journal, replayed",
        command=f"enforcer replay {agent.journal}",
        expected=f"tells of {', '.join(told)}",
        seen=f"{len(replayed.out.splitlines())} lines",
        wrong=(*failed, *untold),
    )
    return seen, replayed.out
