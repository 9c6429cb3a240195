"""What a build is made from, and the name that tells whether a pinned one was made from the same."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

from enforcer import abi
from enforcer.core.model import Mechanism
from enforcer.edges.bpf import build, compiler, offsets
from enforcer.edges.bpf.programs import PROGRAMS
from enforcer.errors import HostError

LSM_LIST = Path("/sys/kernel/security/lsm")


def probes_directory() -> Path:
    """Where the C files are: in a checkout beside the package, in an installation under the environment's share."""
    beside = Path(__file__).resolve().parents[3] / "probes"
    installed = Path(sys.prefix) / "share" / "enforcer" / "probes"
    for candidate in (beside, installed):
        if (candidate / "main.c").is_file():
            return candidate
    raise HostError(f"the probes' C files are neither in {beside} nor in {installed}: install the package again")


@dataclass(frozen=True)
class Source:
    """What a build is made from: C files, and which of the ``mechanisms`` for security hooks to load.

    ``build`` names it: two hex digits of the ABI, 14 of a hash. The kernel's offsets are not in it: a pinned build is one of
    the running kernel.
    """

    directory: Path
    mechanisms: tuple[Mechanism, ...]
    build: str

    @staticmethod
    def of(directory: Path, mechanism: str = "") -> Source:
        """Read the C files. ``mechanism`` forces one, "" takes whichever this kernel may call. Raises ``HostError``."""
        mechanisms = _security_mechanisms(mechanism)
        digest = hashlib.sha256(f"{PROGRAMS}\n{mechanisms}\n".encode())
        for path in (
            *sorted(directory.glob("*.[ch]")),
            Path(offsets.__file__),
            Path(build.__file__),
            Path(compiler.__file__),
        ):
            digest.update(path.read_bytes())
        return Source(directory, mechanisms, f"{abi.ABI:02x}{digest.hexdigest()[:14]}")


def lsm_list() -> tuple[str, ...] | None:
    """The kernel's active LSMs; None where securityfs is not mounted: then the canary tells."""
    try:
        return tuple(LSM_LIST.read_text().strip().split(","))
    except OSError:
        return None


def _security_mechanisms(forced: str) -> tuple[Mechanism, ...]:
    """Which programs for security hooks to load: verifying them is most of a start, so only those that may be called."""
    listed = lsm_list()
    both = (Mechanism.LSM, Mechanism.FMOD_RET)
    if forced:
        return tuple(m for m in both if m.name.lower() == forced)
    if listed is None:
        return both
    return (Mechanism.LSM,) if "bpf" in listed else (Mechanism.FMOD_RET,)
