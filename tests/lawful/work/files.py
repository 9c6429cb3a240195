"""What ordinary programs ask of a file system, step by step, in the directory that is given.

Each step prints its name, 0 or the name of the error, and what it found. Nothing here depends on time or chance.
"""

from __future__ import annotations

import array
import ctypes
import fcntl
import hashlib
import mmap
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from errno import errorcode
from multiprocessing import shared_memory
from pathlib import Path
from select import select

LIBC = ctypes.CDLL(None, use_errno=True)
SYS_RENAMEAT2, SYS_OPENAT2 = 316, 437  # x86-64
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
RESOLVE_NO_MAGICLINKS, RESOLVE_BENEATH, RESOLVE_IN_ROOT = 2, 8, 16
PUNCH_HOLE, KEEP_SIZE, COLLAPSE_RANGE = 2, 1, 8  # linux/falloc.h
AT_FDCWD = -100
DEEP = 400  # in each other; the enforcer walks up to 512 (ENF_MAX_DEPTH) and says so where it refuses more

STEPS: list[Callable[[], object]] = []


def step(function: Callable[[], object]) -> Callable[[], object]:
    """Enter a function into the list of steps."""
    STEPS.append(function)
    return function


def call(result: int) -> int:
    """The result of a C function, or the error that it stands for."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def digest(path: str) -> str:
    """The beginning of a file's hash."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:8]


@step
def small_writes_with_fsync() -> str:
    """A log that is synced at each line, as databases and message queues do."""
    fd = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number in range(100):
        os.write(fd, b"line %d\n" % number)
        (os.fsync if number % 2 else os.fdatasync)(fd)
    os.close(fd)
    directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(directory)
    return digest("log")


@step
def writes_with_o_sync_and_o_direct() -> str:
    """Flags of databases."""
    fd = os.open("sync", os.O_RDWR | os.O_CREAT | os.O_SYNC | os.O_NOATIME)
    os.pwrite(fd, b"x" * 4096, 4096)
    page = mmap.mmap(-1, 4096)
    page.write(b"y" * 4096)
    direct = os.open("direct", os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    os.writev(direct, [page])
    return f"{os.fstat(fd).st_size} {digest('direct')}"


@step
def mail_directory() -> str:
    """Deliver by writing to tmp/, linking to new/, unlinking, and renaming to cur/."""
    for name in ("tmp", "new", "cur"):
        os.mkdir(name)
    for number in range(50):
        Path(f"tmp/{number}").write_text(f"message {number}")
        os.link(f"tmp/{number}", f"new/{number}")
        os.unlink(f"tmp/{number}")
        os.rename(f"new/{number}", f"cur/{number}:2,S")
    return f"{len(os.listdir('cur'))} {len(os.listdir('tmp'))} {len(os.listdir('new'))}"


@step
def atomic_replacement() -> str:
    """Write beside, rename over; readers hold the old file open."""
    Path("f").write_text("0")
    with Path("f").open() as old:
        for number in range(1, 50):
            Path("f.new").write_text(str(number))
            os.replace("f.new", "f")
        return old.read() + Path("f").read_text()


@step
def renames_of_directories() -> str:
    """Across directories, exchanged, and refused where the name is taken."""
    os.makedirs("a/b")
    os.makedirs("c")
    Path("a/b/f").write_text("kept")
    os.rename("a/b", "c/b")
    call(LIBC.syscall(SYS_RENAMEAT2, AT_FDCWD, b"a", AT_FDCWD, b"c", RENAME_EXCHANGE))
    try:
        call(LIBC.syscall(SYS_RENAMEAT2, AT_FDCWD, b"a", AT_FDCWD, b"c", RENAME_NOREPLACE))
    except OSError as e:
        return f"{Path('a/b/f').read_text()} {errorcode[e.errno]}"
    return "renamed over another"


@step
def shared_mapping() -> str:
    """Written through one mapping, read through another and by read."""
    with Path("map").open("w+b") as file:
        file.truncate(1 << 16)
        with mmap.mmap(file.fileno(), 0) as one, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as other:
            one[5000:5005] = b"hello"
            one.flush()
            return f"{other[5000:5005]!r} {os.pread(file.fileno(), 5, 5000)!r}"


@step
def executable_mapping_and_script() -> str:
    """A library is mapped executable, a script and a program of one's own are started."""
    shutil.copy("/usr/bin/true", "program")
    Path("script").write_text("#!/bin/sh\necho ran $1\n")
    os.chmod("script", 0o700)
    with (
        Path("program").open("rb") as file,
        mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC) as mapped,
    ):
        start = mapped[:4]
    subprocess.run(["./program"], check=True)
    said = subprocess.run(["./script", "well"], check=True, capture_output=True).stdout
    fd = os.open("program", os.O_RDONLY)
    subprocess.run([f"/proc/self/fd/{fd}"], pass_fds=[fd], check=True)
    return f"{start!r} {said!r}"


@step
def program_in_memory() -> str:
    """A memfd is written, sealed and executed."""
    fd = os.memfd_create("program", os.MFD_ALLOW_SEALING)
    os.write(fd, Path("/usr/bin/true").read_bytes())
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW)
    return str(subprocess.run([f"/proc/self/fd/{fd}"], pass_fds=[fd], check=False).returncode)


@step
def nameless_file_that_gets_a_name() -> str:
    """O_TMPFILE, then linkat."""
    fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o640)
    os.write(fd, b"first nameless")
    here = os.open(".", os.O_RDONLY)
    os.link(f"/proc/self/fd/{fd}", "named", src_dir_fd=here, dst_dir_fd=here, follow_symlinks=True)
    return f"{Path('named').read_text()} {os.stat('named').st_mode:o} {os.stat('named').st_nlink}"


@step
def opened_again_through_proc() -> str:
    """O_PATH, then a real open of /proc/self/fd/N; also after the name is gone."""
    Path("f").write_text("found")
    path = os.open("f", os.O_PATH)
    one = os.read(os.open(f"/proc/self/fd/{path}", os.O_RDWR), 9)
    os.unlink("f")
    two = os.read(os.open(f"/proc/self/fd/{path}", os.O_RDONLY), 9)
    return f"{one!r} {two!r} {os.readlink(f'/proc/self/fd/{path}').endswith('(deleted)')}"


@step
def openat2_with_resolve_flags() -> str:
    """What stays beneath is opened; what leads out is refused by the kernel itself."""
    os.mkdir("d")
    Path("d/f").write_text("in")
    os.symlink("/f", "d/absolute")
    os.symlink("../../f", "d/out")
    here, said = os.open("d", os.O_PATH), []
    for name, flags in ((b"f", RESOLVE_BENEATH), (b"absolute", RESOLVE_IN_ROOT), (b"out", RESOLVE_BENEATH)):
        how = struct.pack("QQQ", os.O_RDWR, 0, flags | RESOLVE_NO_MAGICLINKS)
        try:
            fd = call(LIBC.syscall(SYS_OPENAT2, here, name, how, len(how)))
            said.append(os.read(fd, 9).decode())
        except OSError as e:
            said.append(errorcode[e.errno])
    return " ".join(said)


@step
def unix_stream_socket() -> str:
    """A server and its client, by a socket that is a file here."""
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind("stream")
        os.chmod("stream", 0o600)
        server.listen()
        client.connect("stream")
        with server.accept()[0] as peer:
            client.sendall(b"question")
            return peer.recv(99).decode()


@step
def unix_datagram_and_seqpacket_sockets() -> str:
    """syslog's way, connected and not."""
    said = []
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client,
    ):
        server.bind("datagram")
        client.bind("answers")
        client.sendto(b"one", "datagram")
        client.connect("datagram")
        client.send(b"two")
        said += [server.recv(9), server.recv(9)]
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client,
    ):
        server.bind("packets")
        server.listen()
        client.connect("packets")
        with server.accept()[0] as peer:
            peer.send(b"three")
        said.append(client.recv(9))
    return repr(said)


@step
def descriptors_over_a_socket() -> str:
    """SCM_RIGHTS between two processes: files of the volume, of the layer and of /proc, a directory and a pipe."""
    Path("f").write_text("of the volume")
    wanted = ["f", ".", "/etc/hostname", "/proc/self/status", "/srv/shipped"]
    one, other = socket.socketpair(socket.AF_UNIX)
    if not (child := os.fork()):
        fds = [os.open(name, os.O_RDONLY) for name in wanted] + list(os.pipe())
        one.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
        os._exit(0)
    os.waitpid(child, 0)
    room = socket.CMSG_LEN(16 * 4)
    _, ancillary, flags, _ = other.recvmsg(1, room)
    fds = array.array("i", ancillary[0][2])
    return (
        f"{len(fds)} {flags & socket.MSG_CTRUNC} {os.read(fds[0], 99)!r} {os.listdir(fds[1])} {os.read(fds[4], 99)!r}"
    )


@step
def locks() -> str:
    """flock, POSIX and open-file-description locks, between processes."""
    with Path("lock").open("w") as file, Path("lock").open("w") as other:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            said = errorcode[e.errno]
        fcntl.flock(file, fcntl.LOCK_UN)
        fcntl.lockf(file, fcntl.LOCK_EX, 10, 0)
        lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 20, 10, 0)
        fcntl.fcntl(other, fcntl.F_OFD_SETLK, lock)
        return said


@step
def inotify() -> str:
    """A watcher sees what is made, moved and removed here."""
    fd = call(LIBC.inotify_init())
    call(LIBC.inotify_add_watch(fd, b".", 0x3C0))  # IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE
    Path("a").touch()
    os.rename("a", "b")
    os.unlink("b")
    select([fd], [], [], 10)
    data, masks = os.read(fd, 4096), []
    while data:
        _, mask, _, size = struct.unpack_from("iIII", data)
        masks.append(f"{mask:x}")
        data = data[16 + size :]
    return " ".join(masks)


@step
def allocation_and_holes() -> str:
    """fallocate, a punched hole, truncation both ways, SEEK_HOLE."""
    fd = os.open("f", os.O_RDWR | os.O_CREAT)
    os.posix_fallocate(fd, 0, 1 << 16)
    os.write(fd, b"x" * (1 << 16))
    call(LIBC.fallocate(fd, PUNCH_HOLE | KEEP_SIZE, ctypes.c_long(8192), ctypes.c_long(8192)))
    hole = os.lseek(fd, 0, os.SEEK_HOLE)
    os.ftruncate(fd, 1 << 20)
    os.truncate("f", 100)
    return f"{hole} {os.fstat(fd).st_size}"


@step
def owners_modes_and_times() -> str:
    """chmod, chown and utimes, by path, by descriptor and of a link."""
    Path("f").touch()
    os.symlink("f", "link")
    fd = os.open("f", os.O_RDONLY)
    os.chmod("f", 0o640)
    os.fchmod(fd, 0o4750)
    os.chown("f", 12, 34)
    os.fchown(fd, 56, -1)
    os.lchown("link", 78, 90)
    os.utime("f", (1, 2))
    os.utime("link", (3, 4), follow_symlinks=False)
    one, two = os.stat("f"), os.lstat("link")
    return f"{one.st_mode:o} {one.st_uid}:{one.st_gid} {one.st_mtime:g} {two.st_uid}:{two.st_gid} {two.st_mtime:g}"


@step
def extended_attributes() -> str:
    """Set, listed, read, replaced, removed."""
    Path("f").touch()
    os.setxattr("f", "user.one", b"1")
    os.setxattr("f", "user.two", b"2")
    os.setxattr("f", "user.one", b"one", os.XATTR_REPLACE)
    os.removexattr("f", "user.two")
    return f"{os.listxattr('f')} {os.getxattr('f', 'user.one')!r}"


@step
def access_lists() -> str:
    """setfacl and getfacl, with a default list for a directory."""
    os.mkdir("d")
    subprocess.run(["setfacl", "-m", "u:1001:rw,d:u:1001:r", "d"], check=True)
    Path("d/f").touch()
    return subprocess.run(["getfacl", "-cn", "d", "d/f"], check=True, capture_output=True, text=True).stdout


@step
def special_files() -> str:
    """A fifo between two processes, a device node, hard links and symbolic ones."""
    os.mkfifo("fifo")
    os.mknod("null", 0o20666, os.makedev(1, 3))
    Path("f").write_text("f")
    os.link("f", "hard")
    os.symlink("f", "soft")
    os.symlink("nowhere", "dangling")
    if not os.fork():
        Path("fifo").write_text("through the fifo")
        os._exit(0)
    said = Path("fifo").read_text()
    os.wait()
    return f"{said} {os.stat('f').st_nlink} {Path('soft').read_text()} {os.readlink('dangling')}"


@step
def names_of_all_kinds() -> str:
    """Newlines, escape sequences, what is no UTF-8, and 255 bytes."""
    names = [b"new\nline", b"\x1b[31mred", b"\xff\xfe", b"'; rm -rf * #", b"n" * 255, "ünï".encode()]
    for name in names:
        Path(os.fsdecode(name)).write_bytes(name)
    for name in names:
        os.rename(name, b"x" + name[:200])
    return f"{sorted(os.listdir(b'.'))!r}"


@step
def deep_directories() -> str:
    """More directories in each other than a path has room for; made, written, listed and removed."""
    here = top = os.open(".", os.O_RDONLY)
    opened = []
    for _ in range(DEEP):
        os.mkdir("d" * 20, dir_fd=here)
        here = os.open("d" * 20, os.O_RDONLY, dir_fd=here)
        opened.append(here)
    fd = os.open("f", os.O_RDWR | os.O_CREAT, dir_fd=here)
    os.write(fd, b"deep")
    os.rename("f", "g", src_dir_fd=here, dst_dir_fd=top)
    os.link("g", "f", src_dir_fd=top, dst_dir_fd=here)
    said = f"{os.listdir(here)} {os.pread(fd, 9, 0)!r}"
    os.unlink("f", dir_fd=here)
    for above in reversed([top, *opened[:-1]]):
        os.rmdir("d" * 20, dir_fd=above)
    return said


@step
def removed_while_in_use() -> str:
    """Files and directories that are unlinked while they are open go on."""
    os.mkdir("d")
    os.chdir("d")
    fd = os.open("f", os.O_RDWR | os.O_CREAT)
    os.unlink("f")
    os.rmdir("../d")
    os.write(fd, b"still here")
    os.fchmod(fd, 0o600)
    said = f"{os.pread(fd, 99, 0)!r} {os.listdir('.')}"
    os.chdir("/")
    return said


@step
def copies_in_the_kernel() -> str:
    """copy_file_range, sendfile and splice."""
    Path("from").write_bytes(b"z" * 100_000)
    source, target = os.open("from", os.O_RDONLY), os.open("to", os.O_RDWR | os.O_CREAT)
    n = os.copy_file_range(source, target, 50_000)
    n += os.sendfile(target, source, None, 20_000)
    reader, writer = os.pipe()
    n += os.splice(source, writer, 1000)
    os.splice(reader, target, 1000)
    return f"{n} {os.fstat(target).st_size}"


@step
def copy_up_of_the_image() -> str:
    """Files that came with the image are changed in every way; the layer takes the copies."""
    Path("/srv/shipped").write_text("changed\n")
    os.chmod("/srv/shipped", 0o600)
    os.rename("/srv/shipped", "/srv/moved")
    os.link("/srv/moved", "/srv/shipped")
    os.setxattr("/srv/moved", "user.copied", b"up")
    shutil.copytree("/srv", "/copied", dirs_exist_ok=True)
    os.unlink("/srv/moved")
    said = sorted(os.listdir("/srv"))
    shutil.rmtree("/copied")
    return f"{said} {Path('/srv/shipped').read_text()}"


@step
def threads_and_processes() -> str:
    """Eight threads and four processes write and read side by side."""

    def work(name: str) -> None:
        for number in range(20):
            Path(f"{name}-{number}").write_text(name)
            os.unlink(f"{name}-{number}")

    children = []
    for number in range(4):
        if not (child := os.fork()):
            work(f"process-{number}")
            os._exit(0)
        children.append(child)
    threads = [threading.Thread(target=work, args=(f"thread-{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return f"{[os.waitpid(child, 0)[1] for child in children]} {os.listdir('.')}"


@step
def shared_memory_of_two_processes() -> str:
    """POSIX shared memory: a file of /dev/shm."""
    memory = shared_memory.SharedMemory(create=True, size=4096)
    if not (child := os.fork()):
        memory.buf[:5] = b"child"
        os._exit(0)
    os.waitpid(child, 0)
    said = bytes(memory.buf[:5])
    memory.close()
    memory.unlink()
    return repr(said)


@step
def own_processes_looked_at() -> str:
    """A parent reads what /proc tells of its child, and of itself."""
    child = subprocess.Popen(["sleep", "100"], stdin=subprocess.DEVNULL)
    try:
        at, said = Path(f"/proc/{child.pid}"), []
        while not (at / "environ").read_bytes():  # Popen returns before the new program is in place
            pass
        for name in ("status", "maps", "environ", "stat", "io", "smaps"):
            said.append(bool((at / name).read_bytes()))
        said += [os.readlink(at / "exe"), os.readlink(at / "cwd") == os.getcwd(), os.readlink(at / "fd/0")]
        said.append(os.listdir(at / "root" / "srv") != [])
        with Path("/proc/self/mem").open("rb") as memory:
            text = ctypes.create_string_buffer(b"own memory")
            memory.seek(ctypes.addressof(text))
            said.append(memory.read(10))
    finally:
        child.kill()
        child.wait()
    return repr(said)


@step
def what_is_refused_anyway() -> str:
    """What a container may not do of itself is refused as ever: it is no violation of a policy about data."""
    said = []
    for name, flags in (
        ("/proc/sys/kernel/hostname", os.O_WRONLY),
        ("/proc/sysrq-trigger", os.O_WRONLY),
        ("/sys/kernel/uevent_helper", os.O_WRONLY),
        ("/nowhere/at/all", os.O_RDONLY),
        ("/etc", os.O_WRONLY),
        ("/etc/passwd/x", os.O_RDONLY),
        ("/proc/1/mem-of-nobody", os.O_RDONLY),
    ):
        try:
            os.close(os.open(name, flags))
            said.append("opened")
        except OSError as e:
            said.append(errorcode[e.errno])
    return " ".join(said)


def main() -> None:
    """Run every step in a directory of its own; the exit status is how many ended otherwise than by a result."""
    place, only = Path(sys.argv[1]), sys.argv[2:]
    for function in STEPS:
        if only and function.__name__ not in only:
            continue
        own = place / function.__name__
        own.mkdir(parents=True)
        os.chdir(own)
        try:
            status, said = "0", function()
        except OSError as e:
            status, said = errorcode.get(e.errno or 0, "OSError"), str(e)
        print(f"{function.__name__}\t{status}\t{str(said).strip()!r}", flush=True)
        os.chdir("/")
        shutil.rmtree(own)


if __name__ == "__main__":
    main()
