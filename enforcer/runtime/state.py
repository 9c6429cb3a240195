"""What must outlive the agent: the numbers that the kernel's maps speak in, and the names behind them.

One JSON file in the state directory, replaced as a whole. It holds for one boot: pinned maps do not survive a reboot.
"""

from __future__ import annotations

import logging
import os
import secrets
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from enforcer.core.ids import Ids
from enforcer.core.model import Facts
from enforcer.edges.directory import hold, private
from enforcer.errors import AbiError, HostError

log = logging.getLogger(__name__)

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class State:
    """``containers``: container id → name, gone ones too; ``networks``: network id → name. ``generation``: the last one used.

    ``instance`` is random and stands in the maps too: pinned maps with another one speak in numbers that we do not know.
    """

    ids: Ids = field(default_factory=Ids)
    containers: dict[str, str] = field(default_factory=dict)
    networks: dict[str, str] = field(default_factory=dict)
    generation: int = 0
    instance: int = field(default_factory=lambda: secrets.randbits(32))

    def knowing(self, facts: Facts, ids: Ids) -> State:
        """This state with the names that ``facts`` adds; the same object if it adds none."""
        containers = {c.id: c.name for c in facts.containers.values()}
        networks = {n.id: n.name for n in facts.networks.values()}
        if (
            ids is self.ids
            and containers.items() <= self.containers.items()
            and networks.items() <= self.networks.items()
        ):
            return self
        return replace(
            self, ids=ids, containers={**self.containers, **containers}, networks={**self.networks, **networks}
        )

    def container(self, subject: int) -> str:
        """The name of the container with this subject id, or "" for none."""
        return self.containers.get(self.ids.container_of(subject) or "", "")

    def network(self, number: int) -> str:
        """The name of the network with this number, or "" for none."""
        return self.networks.get(self.ids.network_of(number) or "", "")


class StateFile:
    """``state.json`` in ``directory``. Raises ``HostError`` where it cannot be kept."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "state.json"
        self._boot = BOOT_ID.read_text().strip()
        self._held = hold(private(directory, "--state"), "--state")

    def read(self) -> State:
        """What an earlier agent of this boot kept; a new state if there is none, or none that can be read (said loudly)."""
        try:
            raw = self._path.read_bytes()
        except FileNotFoundError:
            return State()
        except OSError as e:
            raise HostError(f"cannot read {self._path}: {e.strerror}") from e
        try:
            kept: dict[str, Any] = msgspec.json.decode(raw)
            if kept["boot"] != self._boot:
                return State()
            ids = Ids.from_json(kept["ids"])
            return State(ids, kept["containers"], kept["networks"], kept["generation"], kept["instance"])
        except (msgspec.DecodeError, KeyError, TypeError, AbiError) as e:
            log.warning("%s cannot be read (%s): numbers begin anew, pinned maps are replaced", self._path, e)
            return State()

    def write(self, state: State) -> None:
        """Replace the file as a whole. Raises ``HostError``; the old file is then still there."""
        document = {
            "boot": self._boot,
            "generation": state.generation,
            "instance": state.instance,
            "ids": state.ids.to_json(),
            "containers": state.containers,
            "networks": state.networks,
        }
        scratch = self._path.with_suffix(".new")
        try:
            # no fsync: a new container waits for this, and what a power cut loses is worth nothing after the boot
            scratch.touch(mode=0o600)
            scratch.write_bytes(msgspec.json.encode(document))
            os.replace(scratch, self._path)
        except OSError as e:
            raise HostError(f"cannot write {self._path}: {e.strerror}") from e
