"""A process of a container, as far as the kernel is concerned: in a cgroup and in a network namespace, doing what it is told.

Run as a program it enters the cgroup whose ``cgroup.procs`` is its argument, then obeys lines on its input, one answer each.
"""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
from pathlib import Path

KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


REPLY = bytes((0, 0, 0xFF, 0xFE, 0, 1, 0, 0))
"""An ICMP echo reply (RFC 792), as a kernel says it."""


class Tenant:
    """Starts it. ``namespace`` and ``cgroup`` are those that it lives in; ``directory`` is the cgroup's."""

    def __init__(self, namespace: str, directory: Path) -> None:
        words = ["nsenter", f"--net=/run/netns/{namespace}", sys.executable, __file__, str(directory / "cgroup.procs")]
        pipe = subprocess.PIPE
        self._child = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, bufsize=1)
        self.pid = self._child.pid  # nsenter becomes the program, in the same process
        assert self._answer() == "there"

    def do(self, *words: object) -> str:
        """One command and its answer: the own port for a new flow, else "ok" or the name of an errno."""
        assert self._child.stdin
        print(*words, file=self._child.stdin, flush=True)
        return self._answer()

    def end(self) -> None:
        """Close what it holds and have it end."""
        self._child.communicate()

    def _answer(self) -> str:
        assert self._child.stdout
        return self._child.stdout.readline().strip()


def done(verb: str, rest: list[str], flows: list[socket.socket], listener: socket.socket) -> str:
    """Carry out one command; its answer."""
    if verb == "connect":
        kind, address, port = rest
        flows.append(made := socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, KINDS[kind]))
        made.connect((address, int(port)))
        return str(made.getsockname()[1])
    if verb == "listen":
        listener.bind((rest[0], int(rest[1])))
        listener.listen()
    elif verb == "accept":
        flows.append(listener.accept()[0])
    elif verb == "listen-no-more":
        listener.close()
    elif verb == "raw":
        flows.append(socket.socket(socket.AF_INET, socket.SOCK_RAW, int(rest[0])))
    elif verb == "packet":
        flows.append(socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3)))
    elif verb == "forge":
        flows[int(rest[0])].sendto(REPLY, (rest[1], 0))
    elif verb == "hear":
        flows[int(rest[0])].settimeout(float(rest[1]))
        flows[int(rest[0])].recv(100)
    elif verb == "send":
        flows[int(rest[0])].send(b"x")
    return "ok"


def main() -> None:
    """``connect tcp|udp ADDRESS PORT`` · ``listen ADDRESS PORT`` · ``accept`` · ``listen-no-more`` · ``send NUMBER``.

    ``raw PROTOCOL`` · ``packet`` make such a socket; ``forge NUMBER ADDRESS`` sends an echo reply that nobody has asked for by it,
    ``hear NUMBER SECONDS`` waits for one. Sockets have numbers from 0, in the order in which they were made.
    """
    Path(sys.argv[1]).write_text("0")
    print("there", flush=True)
    flows: list[socket.socket] = []
    listener = socket.socket()
    for line in sys.stdin:
        verb, *rest = line.split()
        try:
            answer = done(verb, rest, flows, listener)
        except TimeoutError:
            answer = "silence"
        except OSError as e:
            answer = errno.errorcode[e.errno or 0]
        print(answer, flush=True)


if __name__ == "__main__":
    main()
