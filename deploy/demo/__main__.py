"""``python -m deploy.demo``: build the world, play the story, remove everything. Exit 0 only if all was as expected."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from types import FrameType

import click
import requests
from docker.errors import DockerException

from deploy.demo.agent import Agent, command, promised, start_agent
from deploy.demo.engine import Engine, adopt, running, start_own
from deploy.demo.images import build_images
from deploy.demo.internet import Internet, connect_internet
from deploy.demo.ledger import Kind, Ledger
from deploy.demo.pins import unload
from deploy.demo.play import (
    Seen,
    check_alerts,
    check_arrivals,
    check_mechanisms,
    check_replay,
    check_standing,
    play_control,
    play_step,
    told,
)
from deploy.demo.prometheus import Prometheus, start_prometheus
from deploy.demo.story import STORY
from deploy.demo.teardown import cgroup_directories, leftovers, objects_left, unmake
from deploy.demo.world import AGENTS, World, build_world, limits
from enforcer.errors import EdgeError, EnforcerError, HostError

NEEDED = ("ip", "nsenter", "nft", "iptables", "prometheus", "mount", "umount")
NEEDED_BY_OWN_ENGINE = ("dockerd", "containerd", "runc")


@dataclass(frozen=True)
class Stage:
    """What stands while the story is played."""

    ledger: Ledger
    engine: Engine
    internet: Internet
    world: World
    agent: Agent
    prometheus: Prometheus
    holds: dict[str, str]
    tables: list[str]


@dataclass
class Report:
    """What was checked so far; prints as it goes."""

    began: float = field(default_factory=monotonic)
    failed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    checked: int = 0

    def say(self, text: str) -> None:
        """A line with the seconds since the start."""
        click.echo(f"[{monotonic() - self.began:5.1f} s] {text}")

    def removed(self, left: list[str]) -> None:
        """The end of everything that was made; ``left`` is what could not be removed, which is told at once."""
        self.left += left
        for what in left:
            click.echo(f"FAILED  {what}", err=True)
        self.say("something is left: run make demo-down" if left else "everything that the demo made is removed")

    def take(self, seen: Seen) -> None:
        """One check, done."""
        self.checked += 1
        click.echo(f"\n{self.checked:2d}.{seen}")
        if seen.wrong:
            self.failed.append(f"{self.checked}. {seen.title}: {'; '.join(seen.wrong)}")


@click.command(help="The main job on the guide's topology, with real containers and a real Prometheus.")
@click.option("--keep", is_flag=True, help="Leave everything up until --down.")
@click.option("--down", is_flag=True, help="Remove what earlier demos left.")
@click.option("--own-engine", is_flag=True, envvar="OWN_ENGINE", help="Start an engine of our own even if one runs.")
def main(*, keep: bool, down: bool, own_engine: bool) -> None:
    """Parse, run, and turn an error into one line and its exit code."""
    try:
        _assert_able(own_engine=own_engine)
        sys.exit(take_down() if down else put_up(keep=keep, own_engine=own_engine))
    except EnforcerError as e:
        click.echo(f"demo: {e}", err=True)
        sys.exit(e.exit_code)
    except (DockerException, requests.RequestException) as e:
        click.echo(f"demo: the Docker engine failed: {e}", err=True)
        sys.exit(EdgeError.exit_code)
    except KeyboardInterrupt:
        click.echo("demo: interrupted", err=True)  # what was removed, and what not, is said where it is removed
        sys.exit(130)


def _assert_able(*, own_engine: bool) -> None:
    if os.geteuid() != 0:
        raise HostError("the demo needs root: it makes network namespaces and loads kernel programs")
    needed = NEEDED if not own_engine and running() else (*NEEDED, *NEEDED_BY_OWN_ENGINE)
    if missing := [name for name in needed if shutil.which(name) is None]:
        raise HostError(f"not installed: {', '.join(missing)}; run make install")


def put_up(*, keep: bool, own_engine: bool) -> int:
    """Build, play, remove. The exit status."""
    report = Report()
    ledger = Ledger.open_new()
    with _interruptible(), _removed_unless_kept(ledger, report) as kept:
        stage = _set_up(ledger, report, own_engine=own_engine)
        _play(stage, report)
        if keep:
            kept.append(stage)
            _tell_how_to_look(stage)
        else:
            _strike(stage, report)
        stage.world.close()
    return _sum_up(report)


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends the demo as Ctrl-C does: through the removal of everything."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    earlier = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)


@contextmanager
def _removed_unless_kept(ledger: Ledger, report: Report) -> Iterator[list[Stage]]:
    kept: list[Stage] = []
    try:
        yield kept
    finally:
        if not kept:
            with _uninterruptible():
                report.removed(remove(ledger))


@contextmanager
def _uninterruptible() -> Iterator[None]:
    """A second Ctrl-C does not leave half of it."""
    earlier = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def remove(ledger: Ledger) -> list[str]:
    """Unmake what a ledger names, then look for it. The answer: what was not removed."""
    entries = ledger.entries()
    return [f"not removed: {what}" for what in (*unmake(ledger), *leftovers(entries))]


def take_down() -> int:
    """Remove what kept or killed demos left. The exit status."""
    trouble = []
    for ledger in Ledger.all():
        if ledger.owner_alive:
            click.echo(f"{ledger.name} still plays: left alone")
            continue
        left = remove(ledger)
        trouble += left
        click.echo(f"{ledger.name} is {'only partly ' if left else ''}removed")
        for what in left:
            click.echo(what, err=True)
    return 1 if trouble else 0


def _set_up(ledger: Ledger, report: Report, *, own_engine: bool) -> Stage:
    url = None if own_engine else running()
    engine = adopt(ledger, url) if url else start_own(ledger)
    report.say(f"engine: {'the running one' if url else 'one of our own, with no way out'} at {engine.url}")
    click.echo("\nWhat holds each hook on this host (enforcer doctor):")
    holds = promised(engine)
    for hook, mechanism in holds.items():
        click.echo(f"  {hook:12} {mechanism}")
    click.echo("")
    internet = connect_internet(engine, ledger)
    report.say("internet: a namespace with 203.0.113.10 and 2001:db8::10; no packet leaves this machine")
    world = build_world(engine, build_images(engine))
    engine.assert_closed(internet.outlet, bridge=world.bridge)
    report.say(f"world: {len(AGENTS)} agents, gateway, database, and mallory{_without(world)}")
    click.echo("\nFirst without the enforcer: what must fail later has to succeed now.")
    for step in STORY:
        if step.control:
            report.take(play_control(world, step))
    tables = _tables(engine)
    agent = start_agent(engine, ledger)
    click.echo("")
    report.say("the enforcer is in force with policies/mcp.yaml")
    prometheus = start_prometheus(engine, ledger)
    report.say("Prometheus scrapes it, with deploy/prometheus/prometheus.yml and rules.yml")
    return Stage(ledger, engine, internet, world, agent, prometheus, holds, tables)


def _without(world: World) -> str:
    _, cannot = limits(world.client.info())
    return f"; this engine cannot limit {', '.join(cannot)}" if cannot else ""


def _tables(engine: Engine) -> list[str]:
    return engine.namespace.run("nft", "list", "tables").out.split("\n")


def _play(stage: Stage, report: Report) -> None:
    report.take(check_mechanisms(stage.agent, stage.holds))
    for rule in stage.agent.status().get("degraded", []):
        click.echo(f"  degraded     {rule['what']} ({rule['why']})")
    for step in STORY:
        report.take(play_step(stage.world, stage.agent, step))
    report.take(check_arrivals(stage.internet))
    report.take(check_alerts(stage.prometheus))
    processes = [e.process() for e in stage.ledger.entries() if e.kind is Kind.PROCESS]
    report.take(check_standing(stage.world, processes))
    seen, timeline = check_replay(stage.agent)
    report.take(seen)
    click.echo(timeline)


def _strike(stage: Stage, report: Report) -> None:
    """End the agent as an operator would, and see that nothing of it stays behind."""
    wrong = [] if stage.agent.stop() else ["the agent had to be killed"]
    pins = next(e for e in stage.ledger.entries() if e.kind is Kind.PINS)
    unload(*pins.words)
    if (tables := _tables(stage.engine)) != stage.tables:
        wrong.append(f"nftables: {tables}, but before {stage.tables}")
    wrong += [f"cgroup {left}" for left in cgroup_directories(stage.agent.canary)]
    wrong += objects_left(stage.engine.url, stage.engine.label)
    report.take(
        Seen(
            title="the end: agent stopped, pins unloaded, world removed",
            command=f"enforcer unload --pins {pins.words[0]}",
            expected="no pin, program, cgroup, nftables table, container, network, volume or image of ours is left",
            seen="; ".join(wrong) or "none is left",
            wrong=tuple(wrong),
        )
    )


def _tell_how_to_look(stage: Stage) -> None:
    enter = f"nsenter --net=/run/netns/{stage.engine.name} " if stage.engine.own else ""
    click.echo(f"\nIt stays up until make demo-down. To look:\n  export DOCKER_HOST={stage.engine.url}")
    for step in STORY:
        click.echo(f"  # {step.title}\n  {told(step, stage.world.images.base)}")
    click.echo("  # what was counted, what fires, what arrived, what was recorded")
    click.echo(f"  {enter}curl -s http://127.0.0.1:9469/metrics | grep ^mcp_")
    click.echo(f"  {enter}curl -s http://127.0.0.1:9490/api/v1/alerts")
    click.echo(f"  cat {stage.internet.record}\n  {command()} replay {stage.agent.journal}")
    click.echo(f"  {command()} status --run {stage.agent.directory}/run")


def _sum_up(report: Report) -> int:
    click.echo("")
    for failure in report.failed:
        click.echo(f"FAILED  {failure}")
    report.say(f"{report.checked - len(report.failed)} of {report.checked} checks were as expected")
    return 1 if report.failed or report.left else 0


if __name__ == "__main__":
    main()
