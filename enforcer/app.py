"""The agent, put together: what can fail for the host's or the operator's sake fails before anything is installed."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Collection
from contextlib import ExitStack
from functools import partial
from typing import Any

from enforcer.core.model import Facts, Policy
from enforcer.edges.cgroup import Cgroups
from enforcer.edges.control import Control
from enforcer.edges.directory import private
from enforcer.edges.dockerd import Dockerd, DockerEvent
from enforcer.edges.http import Scrape, Tls
from enforcer.edges.journal import Journal
from enforcer.edges.memory import settle
from enforcer.edges.systemd import notify
from enforcer.errors import AbiError, EdgeError, EnforcerError, HostError
from enforcer.runtime import report, selftest
from enforcer.runtime.auditing import Auditing
from enforcer.runtime.canary import NAME, Canary, remove_left
from enforcer.runtime.facts import Survey, survey_of
from enforcer.runtime.follow import DockerFollower, Heard, Message, Reload, Resync, Settled, Surveyor, Writer
from enforcer.runtime.guard import EgressGuard
from enforcer.runtime.mend import reattach
from enforcer.runtime.operator import Operator
from enforcer.runtime.orders import OrdersFile
from enforcer.runtime.pipeline import Pipeline
from enforcer.runtime.policies import PolicyFiles
from enforcer.runtime.posture_watch import PostureWatch
from enforcer.runtime.proof import Finding
from enforcer.runtime.reconcile import Reconcile, Snapshot
from enforcer.runtime.recording import Recording
from enforcer.runtime.records import Records
from enforcer.runtime.requests import Requests
from enforcer.runtime.state import StateFile
from enforcer.runtime.supervisor import Supervisor
from enforcer.runtime.sweeps import Sweeps
from enforcer.settings import CANARY_S, REATTACH_S, Settings, default_parent
from enforcer.sinks.journal import JournalSink
from enforcer.sinks.metrics import Metrics, Reading

log = logging.getLogger(__name__)

SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


class Agent:
    """One running enforcer. ``start`` brings it in force, ``wait`` serves until a signal, ``stop`` ends it cleanly."""

    def __init__(self, settings: Settings, tls: Tls | None = None) -> None:
        if os.geteuid() != 0:
            raise HostError("the enforcer needs root and the capabilities of its unit file: run it with sudo")
        self._settings = settings
        self._files = PolicyFiles(settings)
        self._cgroups = Cgroups()
        self._dockerd = Dockerd(settings.docker)
        self._parent = settings.cgroup or default_parent(self._dockerd.engine().cgroup_driver)
        private(settings.run, "--run")
        self._file = StateFile(settings.state)
        self._state = self._file.read()
        self._guard = EgressGuard(settings.pins)
        self._orders = OrdersFile(settings.state)
        self._scrape = Scrape(settings.listen, tls)
        self._journal = JournalSink(journal := Journal(settings.journal, settings.limits))
        self._recovered = journal.recovered
        self._supervisor = Supervisor(failed=lambda: os.kill(os.getpid(), signal.SIGTERM))  # ``wait`` takes it
        self._ready = False

    def start(self) -> None:
        """Bring the kernel's side up, fill it, prove it, and follow the host from then on."""
        self._docker = DockerFollower(self._dockerd, self._hear, self._supervisor.stopping.wait)
        self._docker.open()
        name = f"{NAME}{os.getpid()}"
        with ExitStack() as failing:
            self._control = Control(self._settings.socket, self._answer)  # first: it holds the directory for us alone
            failing.callback(self._control.close)
            remove_left(self._cgroups, self._parent)
            self._canary = Canary(self._cgroups, self._parent, self._settings.run, name=name)
            failing.callback(self._canary.remove)
            if not self._cgroups.is_there(self._parent):
                self._cgroups.ensure(self._parent)
                failing.callback(self._cgroups.remove, self._parent)
            os.close(self._cgroups.attachable(self._parent))  # refused here, before anything is installed
            self._auditing = Auditing(
                *(self._settings, self._cgroups, self._canary, f"{self._parent.rstrip('/')}/{name}"),
                snapshot=lambda: self._reconcile.snapshot,
                start_thread=self._supervisor.start,
            )
            failing.callback(self._auditing.end)
            self._probes = self._auditing.probes(self._state.instance)
            failing.callback(self._probes.give_up)
            failing.callback(self._guard.give_up)
            self._put_in_force()
            self._start_loops()
            failing.pop_all()

    def _put_in_force(self) -> None:
        self._reconcile = Reconcile(
            self._probes.maps, self._file, self._state, canary=self._canary.inode(), guard=self._guard
        )
        self._reconcile.order(self._orders.orders)
        survey = self._survey(self._files.policy)
        self._reconcile.load(self._files.policy, survey.full())
        if self._settings.require_deny:
            self._guard.require()
        self._sweep = Sweeps(self._probes, self._reconcile, self._cgroups)
        self._sweep.acquaint()
        self._probes.attach(self._cgroups, [self._parent], self._auditing.try_all)
        self._auditing.beside(self._probes)
        if self._settings.require_deny:
            self._probes.require_deny()
        self._surveyor = Surveyor(
            survey, found=self._found, reload=self._reload, stopped=self._supervisor.stopping.wait
        )
        self._posture = PostureWatch(self._dockerd, self._settings.docker, lambda: self._reconcile.snapshot)
        self._writer = Writer(self._surveyor.failed, self._sweep.wake, self._posture.wake)
        self._heard = Heard(self._writer, self._reconcile.hear)
        # a cgroup made inside a container before its own was known has not inherited: look once more
        if self._probes.adopted:
            self._surveyor.put(Resync())  # soon: what is pinned has held it meanwhile, as its container or as unnamed
        else:
            self._probes.expect(self._cgroups, self._parent, self._snapshot().facts.containers.values())
            self._reconcile.update(survey.full())
        self._cover()
        self._probes.commit()

    def _start_loops(self) -> None:
        records = self._records = Records(self._reconcile.at, self._cgroups)
        rings = self._sweep.rings(self._auditing.rings(self._probes))
        noted = Recording(self._probes.open_maps(), self._reconcile.at, on=self._settings.record_accesses)
        maps, self._scan_maps, self._status_maps, self._canary_maps = (self._probes.open_maps() for _ in range(4))
        self._pipeline = Pipeline(rings, maps, records, self._journal, born=self._on_born, recording=noted)
        self._probes.hand_over(self._pipeline.read_out)
        self._announce()
        self._guard.tell_to(self._pipeline.notice)
        self._supervisor.start("writer", self._writer.run)
        check, reload = (partial(self._writer.put, self._guard.check, Resync()), partial(self._surveyor.put, Reload()))
        self._supervisor.follow("guard", partial(self._guard.run, due=check), self._guard.wake)
        self._supervisor.start("survey", self._surveyor.run)
        self._supervisor.start("docker", self._docker.run)
        self._sweep.start(self._supervisor.start)
        self._supervisor.follow("posture", self._posture.run, self._posture.wake)
        self._supervisor.follow("pipeline", self._pipeline.run, self._pipeline.wake)
        self._supervisor.follow("accesses", partial(noted.run, wake=self._pipeline.wake))
        self._supervisor.follow("policy", partial(self._files.run, changed=reload), self._files.wake)
        self._selftest = selftest.SelfTest(run=self._run_canary, reattach=self._reattach, notify=self._pipeline.notice)
        if not self._probes.adopted:
            self._selftest.check()
        self._supervisor.every("canary", CANARY_S, self._selftest.check, at_once=self._probes.adopted)
        self._requests = Requests(
            snapshot=self._snapshot,
            status=self._status,
            selftest=lambda: selftest.plain(self._selftest.check()),
            guard=self._guard,
            operator=Operator(self._orders, self._reconcile, self._writer, self._pipeline.notice),
            policy=self._settings.policy,
        )
        self._scrape.registry.register(Metrics(self._reading))
        self._scrape.registry.register(self._posture.metrics)

    def wait(self) -> None:
        """Serve until SIGTERM or SIGINT, or until a part fails (then that error is raised)."""
        self._ready = True
        notify("READY=1")
        print(report.in_force(self._snapshot(), self._probes.holds), flush=True)
        settle()
        while not self._supervisor.stopping.is_set():
            received = signal.sigwaitinfo(SIGNALS).si_signo
            if received == signal.SIGHUP:
                self._surveyor.put(Reload())
            elif received in SIGNALS:
                break  # anything else: CPython hands out an empty answer after a SIGCONT
        notify("STOPPING=1")

    def stop(self) -> None:
        """End every loop, write what is left to the journal. The programs stay pinned and go on: ``unload`` removes them."""
        self._docker.close()
        self._surveyor.put(None)
        self._writer.end()
        self._sweep.end()
        self._pipeline.notice("stopped", f"the agent stops; {self._auditing.end()}")
        self._supervisor.stop()
        self._pipeline.finish()
        self._control.close()
        self._scrape.close()
        self._canary.remove()
        self._journal.close()
        self._dockerd.close()
        if self._supervisor.failure:
            raise AbiError(f"a part of the agent failed: {self._supervisor.failure}") from self._supervisor.failure

    def _snapshot(self) -> Snapshot:
        return self._reconcile.running()

    def _survey(self, policy: Policy) -> Survey:
        return survey_of(policy, self._dockerd, self._cgroups, self._settings.own, self._guard.know)

    def _cover(self) -> None:
        self._probes.cover_all(self._cgroups, self._snapshot().facts.containers.values())

    def _hear(self, message: Message) -> None:
        """An event of Docker's: what it says by itself is in force at once, then the host is looked at."""
        if isinstance(message, DockerEvent):
            self._heard.put(message)
        self._surveyor.put(message)

    def _found(self, facts: Facts, settled: Settled) -> None:
        def write() -> None:
            self._reconcile.update(facts, settled)
            self._cover()

        self._writer.put(write, Resync())

    def _on_born(self, docker_id: str) -> None:
        """A container that nobody prepared has appeared: ask Docker about it now, not when its event comes."""
        if docker_id not in self._snapshot().facts.containers:
            self._surveyor.put(DockerEvent("container", "start", docker_id, docker_id, time.time_ns()))

    def _reload(self, known: Survey) -> Survey | None:
        """Read the policy's files; the survey for what they name, or None if nothing changes. A bad file changes nothing."""
        policy = self._files.again(self._pipeline.notice)
        if policy is None:
            return None
        survey = self._survey(policy)
        facts = survey.going_on(known)

        def write() -> None:
            try:
                self._reconcile.load(policy, facts)
            except EnforcerError:
                self._files.policy = self._snapshot().policy  # so that the next attempt is one
                raise
            self._announce()

        self._files.policy = policy
        self._writer.put(write, Reload())
        self._surveyor.put(Resync())  # in force at once on what is known of the host; then everything is read again
        return survey

    def _announce(self) -> None:
        self._pipeline.notice("policy-loaded", **report.loaded(self._snapshot()))
        if self._recovered:
            cut = f"a torn end of {self._recovered} bytes was cut"
            self._pipeline.notice("journal-recovered", cut, outcome="failure")
            self._recovered = 0

    def _run_canary(self) -> Finding:
        holds = {h.hook: h.mechanism for h in self._probes.holds}
        return self._auditing.try_all(self._canary_maps, holds, lambda: self._pipeline.canary_records)

    def _reattach(self, groups: Collection[str]) -> Collection[str]:
        done = self._writer.do(lambda: reattach(self._probes, self._cgroups, groups), Resync(), seconds=REATTACH_S)
        return done or ()

    def _health(self) -> report.Health:
        return report.Health(
            finding=self._selftest.finding,
            canary_time=self._selftest.time,
            load_failures=self._files.failures,
            docker=self._settings.docker,
            connected=self._docker.connected,
            adopted=self._probes.adopted,
            behind=self._surveyor.behind,
            uncovered=self._probes.uncovered,
            unplaced=self._records.unplaced + self._auditing.unplaced,
            shortcomings={**self._auditing.shortcomings(), **self._guard.shortcomings(), **self._sweep.shortcomings()},
            egress_blocked=self._guard.counts(),
            malformed=self._pipeline.malformed,
            waiting=self._pipeline.waiting,
        )

    def _reading(self) -> Reading:
        return report.reading(self._scan_maps, self._snapshot(), self._probes.holds, self._health())

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if not self._ready:
            raise EdgeError("the agent is starting: ask again in a moment")
        return self._requests.answer(request)

    def _status(self) -> dict[str, Any]:
        return report.status(self._status_maps, self._snapshot(), self._probes.holds, self._health())


def run(settings: Settings, tls: Tls | None = None) -> None:
    """The whole life of an agent. Signals wait from its beginning, in its threads too, so that none ends a start half-way."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    agent = Agent(settings, tls)
    agent.start()
    try:
        agent.wait()
    finally:
        agent.stop()
