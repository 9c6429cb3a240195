"""Borg (borgbackup.org), the archiver: an external program, here on the host; in a container it is run by ``subject``.

It deduplicates, compresses, keeps its repository transactional and checks it. What it says on standard error is one JSON object
a line (``--log-json``), what it ends with is 0, 1 for warnings or 2 for errors (its manual, "Return codes").
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from enforcer.errors import EdgeError, HostError

PASSPHRASE = "BORG_PASSPHRASE"  # noqa: S105 -- the name of the variable
WARNINGS = 1
KILLED = 137
"""What a container ends with whose first process had SIGKILL; where there is a shell in between, other processes too."""

COMPRESSION = "zstd,3"
COMMON = ("--log-json",)


def installed() -> str:
    """Where the program is: with the host's own, which a container of ours has mounted. Raises ``HostError``."""
    found = shutil.which("borg", path=PATH)
    if not found:
        raise HostError("backups need the program borg: apt install borgbackup")
    return os.path.realpath(found)


def environment(base: str, host: str) -> dict[str, str]:
    """What Borg is run with. ``base``: where it keeps its cache; ``host``: by what name it locks the repository.

    The repository is known by other paths in a container than on the host, and unencrypted unless there is a passphrase:
    both is meant so, and asked nobody.
    """
    passphrase = os.environ.get(PASSPHRASE)
    return {
        "BORG_BASE_DIR": base,
        "BORG_HOST_ID": host,
        "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        "BORG_EXIT_CODES": "legacy",
        "LOGNAME": "root",  # whom Borg puts down as who made it: in the container no name goes with the number
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "PATH": PATH,
        **({PASSPHRASE: passphrase} if passphrase else {}),
    }


_ERROR = re.compile(r"[\w.]*(Error|Exception)\b")

PATH = "/usr/local/bin:/usr/bin:/bin"

LOCKS = ("lock.exclusive", "lock.roster")
"""In a repository that somebody has locked."""


@dataclass(frozen=True)
class Archive:
    """One archive of a repository. No other one ever has its ``id``."""

    id: str
    comment: str


@dataclass(frozen=True)
class Ended:
    """How a run of Borg ended: its exit status, and what it warned of or failed for. ``out`` is its standard output."""

    status: int
    said: tuple[str, ...] = ()
    out: bytes = b""


def ended(status: int, out: bytes, err: bytes) -> Ended:
    """Of what a run has written. What is no JSON was said by somebody else, such as its interpreter: it counts, too."""
    return Ended(status, tuple(said for line in err.splitlines() if (said := message_of(line))), out)


def message_of(line: bytes) -> str:
    """A warning or error that a line of standard error tells, "" for progress and the like."""
    found = object_of(line)
    if found is None:
        return line.decode(errors="replace").strip()
    levels = ("WARNING", "ERROR", "CRITICAL")
    return str(found.get("message", "")).strip() if found.get("levelname") in levels else ""


def object_of(line: bytes) -> dict[str, Any] | None:
    """The JSON object that a line is."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def fail(verb: str, run: Ended) -> EdgeError:
    """A run that did not do what it should, as our error."""
    return EdgeError(f"borg {verb}: {'; '.join(map(_brief, run.said[:3])) or f'it ended with {run.status}'}")


def _brief(said: str) -> str:
    """Of a traceback the error, of anything else its first line."""
    lines = said.splitlines() or [said]
    named = [line for line in lines if _ERROR.match(line)] if lines[0].startswith("Traceback") else []
    return (named or lines)[0]


class Borg:
    """Borg on the host, with the repository ``repository`` and its cache below ``base``. Whoever calls holds the repository."""

    def __init__(self, repository: Path, base: Path) -> None:
        self._program = installed()
        self._repository = str(repository)
        self._environment = environment(str(base), f"enforcer-{os.getpid()}")

    def init(self) -> None:
        """A new repository: encrypted with the passphrase of the environment, if there is one. Raises EdgeError."""
        mode = "repokey-blake2" if self._environment.get(PASSPHRASE) else "none"
        self.run("init", "--encryption", mode, self._repository)

    @property
    def is_locked(self) -> bool:
        """Whether a run has the repository locked, or was killed when it had."""
        return any((Path(self._repository) / name).exists() for name in LOCKS)

    def break_lock(self) -> None:
        """Take away what a killed run has left locked. Whoever calls has made sure that none lives."""
        if self.is_locked:
            self.run("break-lock", self._repository)

    def archives(self) -> dict[str, Archive]:
        """Every archive by its name, oldest first; what Borg has put by while it made one is one of them."""
        words = ("--json", "--consider-checkpoints", "--format", "{comment}")
        listed = json.loads(self.run("list", *words, self._repository).out)
        return {str(a["name"]): Archive(str(a["id"]), str(a["comment"])) for a in listed["archives"]}

    def store(self, archive: str, directory: Path, comment: str) -> None:
        """Make an archive of what is in a directory of ours."""
        literal = comment.replace("{", "{{").replace("}", "}}")  # Borg fills placeholders in
        words = ("--numeric-ids", "--compression", COMPRESSION, "--comment", literal)
        run = self.run("create", *words, f"{self._repository}::{archive}", ".", cwd=directory)
        if run.status:
            raise fail("create", run)

    def contents(self, archive: str) -> dict[str, bytes]:
        """The files of an archive that ``store`` made, by their paths."""
        with self.members(archive) as tar:
            return {m.name: cast(IO[bytes], tar.extractfile(m)).read() for m in tar if m.isreg()}

    def delete(self, archives: Sequence[str]) -> None:
        """Delete archives; the space is free after ``compact``."""
        self.run("delete", f"{self._repository}::{archives[0]}", *archives[1:])

    def compact(self) -> None:
        """Give the space of what was deleted back."""
        self.run("compact", self._repository)

    def check(self) -> tuple[str, ...]:
        """Every segment and every chunk, read and compared with its checksum and id; what is wrong."""
        run = self._run("check", "--verify-data", self._repository)
        if run.status not in (0, WARNINGS):
            return run.said or (f"borg check ended with {run.status}",)
        return run.said if run.status else ()

    @contextmanager
    def members(self, archive: str) -> Iterator[tarfile.TarFile]:
        """An archive as a stream of its files, names with their bytes. Raises EdgeError, also at its end if Borg failed."""
        words = [self._program, "export-tar", *COMMON, f"{self._repository}::{archive}", "-"]
        with tempfile.TemporaryFile() as err, _started(words, self._environment, err) as (child, out):
            try:
                with tarfile.open(fileobj=out, mode="r|", encoding="utf-8", errors="surrogateescape") as tar:
                    yield tar
                while out.read(1 << 16):  # the padding of the last record, which Borg would wait to be rid of
                    pass
            except tarfile.TarError as e:  # it was cut short: Borg says why
                torn: tarfile.TarError | None = e
            else:
                torn = None
            status = child.wait()
            err.seek(0)
            run = ended(status, b"", err.read())
            if status or torn:
                raise fail("export-tar", run) from torn

    def run(self, verb: str, *words: str, cwd: Path | None = None) -> Ended:
        """Run it to its end. Raises EdgeError if it failed; warnings are the caller's to judge."""
        run = self._run(verb, *words, cwd=cwd)
        if run.status not in (0, WARNINGS):
            raise fail(verb, run)
        return run

    def _run(self, verb: str, *words: str, cwd: Path | None = None) -> Ended:
        done = subprocess.run(  # noqa: S603 -- a program that we have looked up, and words of ours
            [self._program, verb, *COMMON, *words],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=self._environment,
            cwd=cwd,
        )
        return ended(done.returncode, done.stdout, done.stderr)


@contextmanager
def _started(
    words: Sequence[str], environment_: Mapping[str, str], err: IO[bytes]
) -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]:
    """A child and its standard output; it is gone when the block ends, however that ends."""
    with subprocess.Popen(  # noqa: S603 -- a program that we have looked up, and words of ours
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err, env=environment_
    ) as child:
        try:
            yield child, cast(IO[bytes], child.stdout)
        finally:
            child.kill()
