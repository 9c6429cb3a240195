"""What is older than the policy that is in force, or than the agent: connections, and files."""

from __future__ import annotations

from collections.abc import Callable

from enforcer.edges.bpf.ring import Rings
from enforcer.edges.cgroup import Cgroups
from enforcer.runtime.probes import Probes
from enforcer.runtime.queue import Joined
from enforcer.runtime.reconcile import Reconcile
from enforcer.runtime.sweep import Sweep
from enforcer.runtime.sweep_files import FileSweep


class Sweeps:
    """Both sweeps, each in a thread of its own, with the maps of ``probes``; ``reconcile`` knows what is in force."""

    def __init__(self, probes: Probes, reconcile: Reconcile, cgroups: Cgroups) -> None:
        self._flows = Sweep(probes.open_maps(), lambda: reconcile.settled, cgroups)
        self._files = FileSweep(probes.open_maps(), lambda: reconcile.snapshot, probes.opened)

    def acquaint(self) -> None:
        """Before the network programs are attached: ``Sweep.acquaint``."""
        self._flows.acquaint()

    def rings(self, others: Rings) -> Rings:
        """Those records, and the sweeps'."""
        flows = self._flows.rings(others)
        return Rings(Joined(flows.events, self._files.events), flows.attempts)

    def start(self, start_thread: Callable[[str, Callable[[], None]], None]) -> None:
        """Look from now on."""
        start_thread("sweep", self._flows.run)
        start_thread("sweep-files", self._files.run)

    def wake(self) -> None:
        """What is in force may have changed: look. Any thread may call it; it returns at once."""
        self._flows.wake()
        self._files.wake()

    def end(self) -> None:
        """End both loops, after the looks that they may be at."""
        self._flows.end()
        self._files.end()

    def shortcomings(self) -> dict[str, str]:
        """What is not held, or could not be looked at, and why."""
        return {**self._flows.shortcomings(), **self._files.shortcomings()}
