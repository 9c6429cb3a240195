"""A tiny offender: joins a cgroup, then does one deed, a sub-command each. Run as its own process.

``offender.py CGROUP_PROCS DEED ARGUMENT…``. Exit status 0: the deed was done (for a connection: it was not refused, even if
nobody answered); 77: refused with EPERM; anything else: it failed otherwise. With ``-`` for the cgroup it stays where it is.
"""

import ctypes
import errno
import os
import socket
import struct
import subprocess
import sys

REFUSED, FAILED = 77, 1
NEWNS, NEWNET = 0x00020000, 0x40000000
BIND, REC_PRIVATE, REMOUNT_READ_ONLY = 0x1000, 0x44000, 0x21
AT_FDCWD = -100
SYS_OPEN, SYS_OPENAT2 = 2, 437
PROT_ALL, MAP_PRIVATE_ANONYMOUS_32BIT = 0x7, 0x62
UNREACHABLE = (errno.ENETUNREACH, errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL)

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_long
libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)


def must(result):
    """The result of a C call, or the OSError that it means."""
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def opened(path, flags=os.O_RDONLY):
    """Open, read something, close."""
    fd = os.open(path, flags)
    if flags & os.O_ACCMODE == os.O_RDONLY and not flags & os.O_PATH:
        os.read(fd, 1) if not flags & os.O_DIRECTORY else os.listdir(fd)
    os.close(fd)


def openat2(path, flags=os.O_RDONLY):
    """Open by the newer system call."""
    how = (ctypes.c_uint64 * 3)(flags, 0, 0)
    must(libc.syscall(SYS_OPENAT2, AT_FDCWD, path.encode(), how, ctypes.sizeof(how)))


def high_number(path):
    """The number of open(2) with rubbish above the 32 bits that the kernel looks at."""
    fd = must(libc.syscall(ctypes.c_long(0xDEAD00000000 | SYS_OPEN), path.encode(), os.O_RDONLY))
    os.read(fd, 1)


def socketcall(path):
    """Connect to the socket beside the file by the 32-bit multiplexer, from a 64-bit program."""
    low = libc.mmap(None, 4096, PROT_ALL, MAP_PRIVATE_ANONYMOUS_32BIT, -1, 0)
    address = struct.pack("=H108s", socket.AF_UNIX, os.path.join(os.path.dirname(path), "s").encode())
    client = socket.socket(socket.AF_UNIX)
    code = b"\x53\xb8\x66\0\0\0\xbb\x03\0\0\0\xb9" + struct.pack("=I", low + 1024) + b"\xcd\x80\x5b\x48\x98\xc3"
    ctypes.memmove(low, code, len(code))  # push rbx; eax = 102; ebx = 3; ecx = arguments; int 0x80; pop rbx; cdqe; ret
    ctypes.memmove(low + 1024, struct.pack("=III", client.fileno(), low + 2048, len(address)), 12)
    ctypes.memmove(low + 2048, address, len(address))
    result = ctypes.CFUNCTYPE(ctypes.c_long)(low)()
    if result < 0:
        raise OSError(-result, os.strerror(-result))


def symlink(path):
    """Open through a symbolic link."""
    link = os.path.join("/dev/shm", f"link-{os.getpid()}")  # noqa: S108 -- not in a volume, and gone at once
    os.symlink(path, link)
    try:
        opened(link)
    finally:
        os.unlink(link)


def reopen(path):
    """A descriptor that only names the file is opened anew."""
    fd = os.open(path, os.O_PATH)
    opened(f"/proc/self/fd/{fd}")


def bind(path):
    """Bind the directory elsewhere, in a mount namespace of its own."""
    must(libc.unshare(NEWNS))
    must(libc.mount(b"none", b"/", None, REC_PRIVATE, None))
    must(libc.mount(os.path.dirname(path).encode(), b"/mnt", None, BIND, None))
    opened("/mnt/" + os.path.basename(path))


def bind_around(path):
    """Bind the directory above the file's own, and read the file through that."""
    must(libc.unshare(NEWNS))
    must(libc.mount(b"none", b"/", None, REC_PRIVATE, None))
    directory = os.path.dirname(path)
    must(libc.mount(os.path.dirname(directory).encode(), b"/mnt", None, BIND, None))
    opened("/mnt/" + os.path.basename(directory) + "/" + os.path.basename(path))


def read_only_mount(path, how):
    """Write through a read-only bind mount of the file's directory, or make a file there that is opened for reading."""
    must(libc.unshare(NEWNS))
    must(libc.mount(b"none", b"/", None, REC_PRIVATE, None))
    must(libc.mount(os.path.dirname(path).encode(), b"/mnt", None, BIND, None))
    must(libc.mount(b"none", b"/mnt", None, BIND | REMOUNT_READ_ONLY, None))
    if how == "create":
        opened("/mnt/new", os.O_RDONLY | os.O_CREAT)
    elif how == "openat2":
        openat2("/mnt/" + os.path.basename(path), os.O_WRONLY)
    else:
        opened("/mnt/" + os.path.basename(path), os.O_WRONLY)


def nested(path):
    """A child cgroup is made, and a child process reads from within it; its death is ours."""
    own = os.path.join(os.path.dirname(sys.argv[1]), f"nested-{os.getpid()}")
    os.mkdir(own)
    try:
        command = [sys.executable, "-I", "-S", __file__, own + "/cgroup.procs", "read", path]
        code = subprocess.run(command, check=False).returncode
    finally:
        os.rmdir(own)
    if code < 0:
        os.kill(os.getpid(), -code)
    sys.exit(code)


def reached(connect):
    """A connection that nobody answers was not refused."""
    try:
        connect()
    except OSError as e:
        if e.errno not in UNREACHABLE:
            raise


def family(address):
    """IPv6 if it looks like it."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def alone():
    """A network namespace with no route: what is not refused goes nowhere."""
    must(libc.unshare(NEWNET))


def tcp(address, port):
    """Connect a stream."""
    alone()
    reached(lambda: socket.socket(family(address), socket.SOCK_STREAM).connect((address, int(port))))


def udp(address, port):
    """Connect a datagram socket."""
    alone()
    reached(lambda: socket.socket(family(address), socket.SOCK_DGRAM).connect((address, int(port))))


def sendto(address, port):
    """Send to an address without connecting."""
    alone()
    reached(lambda: socket.socket(family(address), socket.SOCK_DGRAM).sendto(b"x", (address, int(port))))


def make_socket(kind, protocol=0):
    """Make a socket and nothing else."""
    families = {"raw": (socket.AF_INET, socket.SOCK_RAW), "raw6": (socket.AF_INET6, socket.SOCK_RAW)}
    families |= {"packet": (socket.AF_PACKET, socket.SOCK_DGRAM), "ping": (socket.AF_INET, socket.SOCK_DGRAM)}
    socket.socket(*families[kind], int(protocol))


def ping(address):
    """Send an ICMP echo request by a raw socket, as ping does."""
    version6 = ":" in address
    protocol = socket.IPPROTO_ICMPV6 if version6 else socket.IPPROTO_ICMP
    request = struct.pack("!BBHHH", 128, 0, 0, 1, 1) if version6 else struct.pack("!BBHHH", 8, 0, 0xF7FD, 1, 1)
    socket.socket(family(address), socket.SOCK_RAW, protocol).sendto(request, (address, 0))


def raw(address, protocol, port, rounds=1):
    """Send packets of a protocol of one's own, all by one socket; the first four bytes are ports where it has them."""
    sender, refused = socket.socket(family(address), socket.SOCK_RAW, int(protocol)), 0
    for _ in range(int(rounds)):
        try:
            sender.sendto(struct.pack("!HH", 1, int(port)) + bytes(8), (address, 0))
        except PermissionError:
            refused += 1
    if refused:
        raise PermissionError


def send_again(address, port, rounds):
    """One socket sends to one address so many times."""
    sender, refused = socket.socket(family(address), socket.SOCK_DGRAM), 0
    for _ in range(int(rounds)):
        try:
            sender.sendto(b"x", (address, int(port)))
        except PermissionError:
            refused += 1
    print(refused)


def datagram(address, port, content):
    """Send a datagram of these bytes (hex)."""
    socket.socket(family(address), socket.SOCK_DGRAM).sendto(bytes.fromhex(content), (address, int(port)))


def segments(address, port, content, size):
    """Send these bytes (hex) as one that the kernel cuts into datagrams of a size (UDP_SEGMENT)."""
    sender = socket.socket(family(address), socket.SOCK_DGRAM)
    sender.setsockopt(socket.SOL_UDP, 103, int(size))
    sender.sendto(bytes.fromhex(content), (address, int(port)))


def talk(address, port):
    """Connect a stream, and send what comes on standard input; a line tells how each went."""
    peer = socket.create_connection((address, int(port)), timeout=10)
    peer.settimeout(2)
    print("connected", flush=True)
    for line in sys.stdin:
        try:
            peer.sendall(line.encode())
            print(peer.recv(100).decode().strip() or "closed", flush=True)
        except OSError as e:
            print(errno.errorcode.get(e.errno, "silence"), flush=True)


def resend(address, port, own=0):
    """One socket sends a datagram for each line on standard input; a line tells how it went."""
    sender = socket.socket(family(address), socket.SOCK_DGRAM)
    sender.bind(("", int(own)))
    print("ready", flush=True)
    for line in sys.stdin:
        try:
            sender.sendto(line.encode(), (address, int(port)))
            print("sent", flush=True)
        except OSError as e:
            print(errno.errorcode.get(e.errno), flush=True)


def reply(address, port):
    """A datagram server that does one thing for each line on standard input: it hears, or it writes to whom it has heard last."""
    server = socket.socket(family(address), socket.SOCK_DGRAM)
    server.bind((address, int(port)))
    server.settimeout(20)
    client = None
    print("ready", flush=True)
    for line in sys.stdin:
        try:
            if line.strip() == "hear":
                _, client = server.recvfrom(100)
            else:
                server.sendto(line.encode(), client)
            print("done", flush=True)
        except OSError as e:
            print(errno.errorcode.get(e.errno, "silence"), flush=True)


def flood(address, sockets):
    """Datagrams to every port of an address, from so many sockets."""
    for _ in range(int(sockets)):
        sender = socket.socket(family(address), socket.SOCK_DGRAM)
        for port in range(1, 1 << 16):
            try:
                sender.sendto(b"", (address, port))
            except ConnectionRefusedError:  # the answer to an earlier one
                continue


def passing(address, port):
    """A connected datagram socket made in a cgroup of its own, which is gone; it sends what comes on standard input."""
    own = os.path.dirname(sys.argv[1])
    passed = os.path.join(own, f"passing-{os.getpid()}")
    os.mkdir(passed)
    for place in (passed, own):
        with open(place + "/cgroup.procs", "w") as procs:
            procs.write("0")
        if place == passed:
            sender = socket.socket(family(address), socket.SOCK_DGRAM)
            sender.connect((address, int(port)))
    os.rmdir(passed)
    print("ready", flush=True)
    for line in sys.stdin:
        try:
            try:
                sender.send(line.encode())
            except ConnectionRefusedError:  # the answer to the one before
                sender.send(line.encode())
            print("sent", flush=True)
        except OSError as e:
            print(errno.errorcode.get(e.errno), flush=True)


def give(path, address, port):
    """Connect a datagram socket, and give it away over the unix socket at a path."""
    made = socket.socket(family(address), socket.SOCK_DGRAM)
    made.connect((address, int(port)))
    there = socket.socket(socket.AF_UNIX)
    there.connect(path)
    socket.send_fds(there, [b"x"], [made.fileno()])


def serve(address, port, kind):
    """Answer one client as long as it speaks: a stream whose listener closes once it has come, or datagrams."""
    if kind == "udp":
        server = socket.socket(family(address), socket.SOCK_DGRAM)
        server.bind((address, int(port)))
        print("ready", flush=True)
        while True:
            data, client = server.recvfrom(100)
            server.sendto(data, client)
    listener = socket.create_server((address, int(port)), family=family(address))
    print("ready", flush=True)
    client, _ = listener.accept()
    listener.close()
    while data := client.recv(100):
        client.sendall(data)


def unix(path):
    """Connect to the socket beside the file."""
    socket.socket(socket.AF_UNIX).connect(os.path.join(os.path.dirname(path), "s"))


def storm(path, rounds):
    """So many refused opens; ends by the first one where opens are punished by death."""
    refused = 0
    for _ in range(int(rounds)):
        try:
            opened(path)
        except PermissionError:
            refused += 1
    print(refused)


def mkdir(path):
    """Make a directory beside the file, and leave it as it was."""
    os.mkdir(path + ".d")
    os.rmdir(path + ".d")


def beside(make):
    """A deed that makes something beside the file, and leaves the directory as it was."""

    def deed(path):
        new = os.path.join(os.path.dirname(path), "new")
        make(path, new)
        os.unlink(new)

    return deed


def rename(path):
    """Another name, and back."""
    os.rename(path, path + ".moved")
    os.rename(path + ".moved", path)


def again(path):
    """A name goes and comes back."""
    os.link(path, path + ".kept")
    os.unlink(path)
    os.rename(path + ".kept", path)


def xattr(path):
    """An extended attribute is set and removed."""
    os.setxattr(path, "trusted.x", b"y")
    os.removexattr(path, "trusted.x")


CHANGES = {
    "make": beside(lambda path, new: os.close(os.open(new, os.O_RDONLY | os.O_CREAT | os.O_EXCL))),
    "mkdir": mkdir,
    "mknod": beside(lambda path, new: os.mkfifo(new)),
    "make-symlink": beside(lambda path, new: os.symlink("nowhere", new)),
    "link": beside(os.link),
    "rename": rename,
    "chmod": lambda path: os.chmod(path, os.stat(path).st_mode & 0o777),
    "chown": lambda path: os.chown(path, os.stat(path).st_uid, os.stat(path).st_gid),
    "utime": os.utime,
    "cut": lambda path: os.truncate(path, os.stat(path).st_size),
    "setxattr": xattr,
}


def changes(path):
    """Every change there is, in one's own directory."""
    for change in CHANGES.values():
        change(path)
    again(path)


DEEDS = {
    **CHANGES,
    "changes": changes,
    "unlink": os.unlink,
    "rmdir": lambda path: os.rmdir(os.path.join(os.path.dirname(path), "empty")),
    "removexattr": lambda path: os.removexattr(path, "trusted.kept"),
    "read": opened,
    "write": lambda path: opened(path, os.O_WRONLY),
    "update": lambda path: opened(path, os.O_RDWR),
    "truncate": lambda path: opened(path, os.O_RDONLY | os.O_TRUNC),
    "path-only": lambda path: opened(path, os.O_PATH),
    "list": lambda path: opened(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY),
    "openat2": openat2,
    "high-number": high_number,
    "creat": lambda path: os.close(must(libc.creat(path.encode(), 0o600))),
    "symlink": symlink,
    "reopen": reopen,
    "bind": bind,
    "bind-around": bind_around,
    "read-only-mount": read_only_mount,
    "nested": nested,
    "tcp": tcp,
    "udp": udp,
    "sendto": sendto,
    "make-socket": make_socket,
    "ping": ping,
    "raw": raw,
    "send-again": send_again,
    "datagram": datagram,
    "segments": segments,
    "talk": talk,
    "resend": resend,
    "serve": serve,
    "reply": reply,
    "flood": flood,
    "passing": passing,
    "give": give,
    "unix": unix,
    "socketcall": socketcall,
    "storm": storm,
}

if __name__ == "__main__":
    if sys.argv[1] != "-":
        with open(sys.argv[1], "w") as procs:
            procs.write("0")
    try:
        DEEDS[sys.argv[2]](*sys.argv[3:])
    except PermissionError:
        sys.exit(REFUSED)
    except OSError as e:
        print(e, file=sys.stderr)
        sys.exit(FAILED)
