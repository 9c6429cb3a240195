"""A machine that boots a stock Debian kernel under emulation, runs one script as root, and is gone.

::

    vda  the Debian root     cached, writes are thrown away
    vdb  the checkout        tracked and untracked files, not the ignored ones, and .venv; at the host's own path
    vdc  a tar in, a tar out the script to run and the probes' byte code; then its exit status and what it left in $RESULTS

No network device, no shared memory with the host, no KVM. A run costs some 5 s beyond its script.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from .errors import MachineError, require
from .image import GUEST, Image, build, make_filesystem
from .programs import programs

__all__ = ["Image", "Machine", "MachineError", "Result", "build"]

EXCHANGE_BYTES = 64 << 20  # what a script and its results may take together
REPO_SIZE = "1G"  # sparse
CMDLINE = "console=ttyS0 loglevel=5 panic=-1 mitigations=off random.trust_cpu=on"


@dataclass(frozen=True)
class Result:
    """What a script did. ``output`` is what it printed, ``files`` what it left in $RESULTS."""

    exit_code: int
    output: str
    files: Mapping[str, bytes] = field(default_factory=dict)
    console: str = ""


class Machine:
    """Boots ``image`` with a copy, taken at construction, of the checkout at ``repo``. Use it with ``with``."""

    def __init__(self, image: Image, repo: Path) -> None:
        require("qemu-system-x86_64", "setpriv", "git", "mkfs.ext4")
        self._image = image
        self._repo = repo.resolve()
        self._place = _workplace(self._repo / ".cache")
        self._dir = Path(self._place.name)
        self._drive = self._dir / "repo.ext4"
        _pack_checkout(self._repo, tree=self._dir / "tree", to=self._drive)
        self._programs: Mapping[str, bytes] = {}

    def __enter__(self) -> Machine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._place.cleanup()

    def compile(self) -> None:
        """Give every later boot the probes compiled for its kernel; what types that has is asked once for an image."""
        if not self._image.types.exists():
            asked = self.run("cp /sys/kernel/btf/vmlinux $RESULTS/types", timeout_s=300)
            partial = self._dir / "types"
            partial.write_bytes(asked.files["types"])
            partial.rename(self._image.types)
        self._programs = programs(self._image.types, self._repo / ".cache/vm-programs")

    def run(
        self,
        script: str,
        *,
        timeout_s: int,
        cmdline: str = "",
        memory_mib: int = 1536,
        cpus: int = 2,
        qemu_args: tuple[str, ...] = (),
    ) -> Result:
        """Boot, run ``script`` with bash in the checkout, power off.

        ``cmdline`` is added to the kernel's, ``qemu_args`` to the emulator's (``-icount`` needs ``cpus=1``). Raises
        ``MachineError``, with the console's end, if the machine has not powered itself off after ``timeout_s``.
        """
        with tempfile.TemporaryDirectory(prefix="run-", dir=self._dir) as name:
            place = Path(name)
            self._write_job(place / "exchange", script)
            command = self._command(
                place, cmdline=cmdline, machine=("-m", str(memory_mib), "-smp", str(cpus), *qemu_args)
            )
            problem = _run(command, timeout_s=timeout_s)
            output, console = (_text(place / part) for part in ("output", "console"))
            answer = _read_answer(place / "exchange")
        if problem or "exit_code" not in answer:
            problem = problem or "the machine stopped before its script had ended"
            raise MachineError(f"{problem}\n--- console\n{console[-4000:]}\n--- output\n{output[-4000:]}")
        files = {path.removeprefix("results/"): data for path, data in answer.items() if path.startswith("results/")}
        return Result(int(answer["exit_code"]), output, files, console)

    def _write_job(self, exchange: Path, script: str) -> None:
        with tarfile.open(exchange, "w") as tar:
            files = {"init": (GUEST / "init").read_bytes(), "repo": bytes(self._repo), "script": script.encode()}
            files |= {f"programs/{name}": data for name, data in self._programs.items()}
            for name, data in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))
        os.truncate(exchange, EXCHANGE_BYTES)

    def _command(self, place: Path, *, cmdline: str, machine: tuple[str, ...]) -> list[str]:
        drives = (
            f"file={self._image.root},snapshot=on",
            f"file={self._drive},snapshot=on",
            f"file={place / 'exchange'}",
        )
        return [
            *("setpriv", "--pdeathsig", "KILL", "--"),  # the emulator does not outlive a test run that is killed
            *("qemu-system-x86_64", "-M", "pc,accel=tcg", "-cpu", "max", "-nodefaults", "-no-reboot", "-nic", "none"),
            *("-display", "none", "-serial", f"file:{place / 'console'}", "-serial", f"file:{place / 'output'}"),
            *("-kernel", str(self._image.kernel), "-initrd", str(self._image.initramfs)),
            *("-append", f"{CMDLINE} {cmdline}".strip()),
            *(part for drive in drives for part in ("-drive", f"{drive},if=virtio,format=raw,cache=unsafe")),
            *machine,
        ]


def _workplace(cache: Path) -> tempfile.TemporaryDirectory[str]:
    """A directory beside the checkout, so that copying it is linking. Those of runs that were killed are removed."""
    cache.mkdir(exist_ok=True)
    for stale in cache.glob("machine-*"):
        if not Path("/proc", stale.name.split("-")[1]).exists():
            shutil.rmtree(stale, ignore_errors=True)
    return tempfile.TemporaryDirectory(prefix=f"machine-{os.getpid()}-", dir=cache)


def _run(command: list[str], *, timeout_s: int) -> str:
    """Run the emulator to its end and return what was wrong, empty if nothing was."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as emulator:
        try:
            _, complaint = emulator.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return f"the machine was still running after {timeout_s} s"
        finally:
            emulator.kill()
    return f"qemu-system-x86_64 ended with {emulator.returncode}: {complaint.strip()}" if emulator.returncode else ""


def _pack_checkout(repo: Path, *, tree: Path, to: Path) -> None:
    listed = subprocess.run(
        ["git", "-C", repo, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        raise MachineError(f"{repo} is not a git checkout: {listed.stderr.decode().strip()}")
    for name in set(filter(None, listed.stdout.decode().split("\0"))):
        target = tree / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (repo / name).is_symlink() or (repo / name).is_file():  # a deleted file is still listed
            os.link(repo / name, target, follow_symlinks=False)
    if not (repo / ".venv/bin/python").exists():
        raise MachineError(f"{repo}/.venv is missing; run `make install`")
    subprocess.run(["cp", "-al", repo / ".venv", tree / ".venv"], check=True)
    make_filesystem(tree, to=to, size=REPO_SIZE)
    subprocess.run(["rm", "-rf", tree], check=True)


def _read_answer(exchange: Path) -> dict[str, bytes]:
    """The files of the tar that the guest wrote over its job, or the job itself if it never came to that."""
    with tarfile.open(exchange) as tar:
        members = ((member.name, tar.extractfile(member)) for member in tar if member.isfile())
        return {name: data.read() for name, data in members if data is not None}


def _text(path: Path) -> str:
    return path.read_bytes().decode(errors="replace") if path.exists() else ""
