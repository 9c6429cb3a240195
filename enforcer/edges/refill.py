"""The program that fills a volume from a backup, in the container ``enforcer-restore``: stdlib only, run by its path.

All is restored beside what the volume holds, in the directory that the order names, and compared with the list of files; only then
is what was there removed and the new moved into place. As long as that directory is there the volume is not whole.

It reads its order, a JSON object, as its first argument: ``volume`` (the directory to fill), ``saved`` (the volume's name in the
archive), ``staging`` (a name), ``command`` (of Borg), ``list`` (the list's path). It ends with 0, with Borg's
status, or with 3 where something differs or cannot be done, and says what on standard error.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Any

FAILED = 3
SHOWN = 5
KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFIFO: "fifo",
    stat.S_IFCHR: "character",
    stat.S_IFBLK: "block",
}


def main() -> int:
    """Restore, compare, move into place; the exit status."""
    order = json.loads(sys.argv[1])
    try:
        return fill(order, order["volume"], os.path.join(order["volume"], order["staging"]))
    except OSError as e:
        print(f"{order['saved']}: {e}", file=sys.stderr)
        return FAILED


def fill(order: dict[str, Any], volume: str, staging: str) -> int:
    """The whole of it. ``volume`` and ``staging`` are paths. Raises OSError."""
    os.listdir(volume)  # who may not read is stopped here, before anything is made
    clear(staging)
    os.mkdir(staging, 0o700)
    drop_attributes(staging)  # a default ACL of the volume's would go on to what is restored
    status = subprocess.run(order["command"], check=False, cwd=staging, stdin=subprocess.DEVNULL).returncode  # noqa: S603
    if status:
        return status
    restored = os.path.join(staging, order["saved"])
    if wrong := tuple(islice(compared(order["list"], order["saved"], restored), SHOWN)):
        print(*wrong, sep="\n", file=sys.stderr)
        return FAILED
    flush(volume)
    put_in_place(restored, volume, staging)
    return 0


def put_in_place(restored: str, volume: str, staging: str) -> None:
    """What was there goes, what is restored comes, and last of all goes the sign that it is not whole."""
    own = os.lstat(restored)
    for name in os.listdir(volume):
        if name != os.path.basename(staging):
            clear(os.path.join(volume, name))
    for name in os.listdir(restored):
        os.rename(os.path.join(restored, name), os.path.join(volume, name))
    drop_attributes(volume)
    os.chown(volume, own.st_uid, own.st_gid)
    os.chmod(volume, stat.S_IMODE(own.st_mode))
    for name in attributes(restored):
        os.setxattr(volume, name, os.getxattr(restored, name))
    os.rmdir(restored)
    flush(volume)
    os.rmdir(staging)
    os.utime(volume, ns=(own.st_atime_ns, own.st_mtime_ns))
    flush(volume)


def flush(directory: str) -> None:
    """Have its filesystem written to its disk: syncfs(2), which Python has no name for."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(handle):
            raise OSError(ctypes.get_errno(), "syncfs", directory)
    finally:
        os.close(handle)


def clear(path: str) -> None:
    """Remove whatever is there; no symbolic link is followed."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
    except (IsADirectoryError, PermissionError):  # unlink(2) says EISDIR or EPERM of a directory
        shutil.rmtree(path)


def attributes(path: str) -> list[str]:
    """A directory's extended attributes, its ACLs among them. Labels of security modules are the host's to give."""
    return [name for name in os.listxattr(path) if not name.startswith("security.")]


def drop_attributes(path: str) -> None:
    """Remove them."""
    for name in attributes(path):
        os.removexattr(path, name)


def compared(list_: str, saved: str, restored: str) -> Iterator[str]:
    """Where what is restored is not as the list says."""
    listed = 0
    for entry in entries(list_):
        if entry["volume"] == saved:
            listed += 1
            apart = entry["kind"] == "hardlink" and entry["link"].startswith("../")
            yield from differing(alone(list_, entry) if apart else entry, restored)
    found = 1 + sum(len(names) + len(files) for _, names, files in os.walk(restored))
    if found != listed:
        yield f"{saved}: {found} files were restored, {listed} were saved"


def alone(list_: str, entry: dict[str, Any]) -> dict[str, Any]:
    """What another name of a file in another volume is when it is restored without that: a file of its own."""
    other = next(e for e in entries(list_) if f"../{e['volume']}/{e['path']}" == entry["link"])
    return {**other, "path": entry["path"]}


def entries(list_: str) -> Iterator[dict[str, Any]]:
    """The list of files, one after the other."""
    with open(list_, encoding="ascii") as lines:
        yield from map(json.loads, lines)


def differing(entry: dict[str, Any], restored: str) -> Iterator[str]:
    """The same of one file."""
    path = os.path.normpath(os.path.join(restored, entry["path"]))
    found = os.lstat(path)
    if entry["kind"] == "hardlink":
        if not os.path.samestat(found, os.lstat(os.path.join(restored, entry["link"]))):
            yield f"{entry['path']!a} is no other name of {entry['link']!a}"
        return
    # Borg writes the second into the list by a division of floating-point numbers: the same one here
    seen = {"kind": KINDS.get(stat.S_IFMT(found.st_mode), "?"), "uid": found.st_uid, "gid": found.st_gid}
    seen["mtime"] = int(found.st_mtime_ns / 1e9)
    if entry["kind"] == "symlink":
        seen["link"] = os.readlink(path)
    else:
        seen["mode"] = stat.S_IMODE(found.st_mode)
    if entry["kind"] == "file":
        seen |= {"size": found.st_size, "sha256": hashed(path)}
    for what, now in seen.items():
        if now != entry[what]:
            yield f"{entry['path']!a}: {what} is {now!a}, {entry[what]!a} was saved"


def hashed(path: str) -> str:
    """SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    sys.exit(main())
