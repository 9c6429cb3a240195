"""The cgroup v2 tree: the ids by which the kernel knows containers, and where programs may be attached.

A cgroup's id is the inode number of its directory (``kn->id``, the value of ``bpf_get_current_cgroup_id``). Paths are
those of ``/proc/PID/cgroup``: absolute from the root of the hierarchy, ``/docker/<id>``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from enforcer.edges.procfs import Procfs
from enforcer.errors import ContainerGone, EdgeError, HostError


class Cgroups:
    """Answers which cgroup a container has. ``root`` is where cgroup2 is mounted; found in mountinfo if not given."""

    def __init__(self, root: Path | None = None, *, procfs: Procfs | None = None) -> None:
        self._procfs = procfs or Procfs()
        self.root = root or self._find()

    def id_of(self, path: str) -> int:
        """The id of the cgroup at ``path``. Raises ContainerGone."""
        try:
            return self._directory(path).stat().st_ino
        except (FileNotFoundError, NotADirectoryError) as e:
            raise ContainerGone(f"cgroup {path} is gone") from e
        except OSError as e:
            raise EdgeError(f"cannot look at cgroup {path}: {e.strerror}") from e

    def below(self, path: str) -> tuple[int, ...]:
        """The ids of all cgroups beneath ``path``; those that go meanwhile are left out."""
        found = []
        for directory, names, _ in os.walk(self._directory(path)):
            for name in names:
                try:
                    found.append(os.stat(os.path.join(directory, name)).st_ino)
                except FileNotFoundError:
                    continue
        return tuple(sorted(found))

    def processes(self, path: str) -> tuple[int, ...]:
        """Every process in ``path`` and beneath it now; cgroups that go meanwhile, or hold threads only, are left out."""
        found: list[int] = []
        for directory, _, _ in os.walk(self._directory(path)):
            try:
                words = Path(directory, "cgroup.procs").read_text().split()
            except OSError:
                continue
            found += (int(word) for word in words)
        return tuple(found)

    def named(self, prefix: str, below: str) -> tuple[str, ...]:
        """The paths of all cgroups beneath ``below`` whose own name begins with ``prefix``."""
        top = self._directory(below)
        found = (
            Path(directory, name) for directory, names, _ in os.walk(top) for name in names if name.startswith(prefix)
        )
        return tuple(sorted(f"/{path.relative_to(self.root)}" for path in found))

    def of_pid(self, pid: int) -> str:
        """The path of the cgroup that a process is in. Raises ContainerGone."""
        return self._procfs.cgroup(pid)

    def is_there(self, path: str) -> bool:
        """Is there a cgroup at ``path``?"""
        return self._directory(path).is_dir()

    def exists(self, path: str, cgroup: int) -> bool:
        """Is the cgroup with this id still at ``path``?"""
        try:
            return self.id_of(path) == cgroup
        except ContainerGone:
            return False

    def is_in(self, pid: int, cgroup: int) -> bool:
        """Is the process there, and in the cgroup with this id?"""
        try:
            return self.id_of(self.of_pid(pid)) == cgroup
        except (EdgeError, HostError):
            return False

    def ensure(self, path: str) -> int:
        """Make the cgroup and those above it where they are missing; its id."""
        try:
            self._directory(path).mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise EdgeError(f"cannot make cgroup {path}: {e.strerror}") from e
        return self.id_of(path)

    def remove(self, path: str) -> None:
        """Remove an empty cgroup; one that is gone is fine. Raises EdgeError while it holds processes or cgroups."""
        try:
            self._directory(path).rmdir()
        except FileNotFoundError:
            return
        except OSError as e:
            raise EdgeError(f"cannot remove cgroup {path}: {e.strerror} (its processes must end first)") from e

    def parents(self, paths: Iterable[str]) -> tuple[str, ...]:
        """The cgroups directly above those of containers, each once: where one program reaches every container."""
        return tuple(sorted({str(PurePosixPath(p).parent) for p in paths}))

    def attachable(self, path: str) -> int:
        """An open descriptor of a cgroup to attach programs to; the caller closes it. Raises ContainerGone.

        HostError for the root and for every cgroup above the agent's own: what is attached there could govern the host.
        """
        directory = self._directory(path)
        own = self._directory(self._procfs.cgroup())
        if own.is_relative_to(directory) or directory == self.root:
            raise HostError(
                f"cgroup {path} holds host processes, this agent among them: no program is attached to it; "
                "give the engine a --cgroup-parent of its own"
            )
        try:
            return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except (FileNotFoundError, NotADirectoryError) as e:
            raise ContainerGone(f"cgroup {path} is gone") from e
        except OSError as e:
            raise EdgeError(f"cannot open cgroup {path}: {e.strerror}") from e

    def _directory(self, path: str) -> Path:
        parts = [p for p in path.split("/") if p not in ("", ".")]
        if ".." in parts:
            raise HostError(f"cgroup {path} is outside this agent's cgroup namespace: run the agent in the host's")
        return self.root.joinpath(*parts)

    def _find(self) -> Path:
        found = [m for m in self._procfs.mounts() if m.kind == "cgroup2" and m.root == "/"]
        if not found:
            raise HostError("no cgroup v2 hierarchy is mounted: mount -t cgroup2 none /sys/fs/cgroup/unified")
        return Path(found[0].point)
