"""One table, three levels: each row is decided in a unit test, enforced on a process in a scratch cgroup, and enforced on
a process in a real container. The world is the same everywhere: containers alpha, beta and stranger, volumes alpha-data,
alpha-config and beta-data with one file ``f`` in each, mounted (or reached) as the level can.
"""

from __future__ import annotations

from dataclasses import dataclass

from enforcer.core.model import Access, Hook, Kind, ObjectId, Policy, Verdict
from enforcer.core.parse import parse
from enforcer.edges.policyfile import from_bytes

POLICY = b"""
version: 1
mode: enforce
containers:
  alpha: {name: alpha}
  watched: {name: watched}
data:
  protected: [{volume: "alpha-*"}, {volume: "beta-*"}]
  rules:
    - {who: alpha, read-write: [alpha-data], read-only: [alpha-config]}
    - {who: watched, read-only: [alpha-config], mode: monitor}
network:
  rules:
    - who: alpha
      connect:
        - {cidr: 203.0.113.0/24, except: [203.0.113.128/25], ports: [443/tcp, 53/udp]}
        - {cidr: "2001:db8::/32", ports: [443/tcp]}
    - {who: watched, connect: [], mode: monitor}
"""


def policy(text: bytes = POLICY) -> Policy:
    """The policy of the table, loaded as the agent loads it."""
    return parse(from_bytes(text, "scenarios.yaml"))


def volume(name: str) -> ObjectId:
    """A volume of the world."""
    return ObjectId(Kind.VOLUME, name)


@dataclass(frozen=True)
class FileCase:
    """``who`` does ``deed`` (a sub-command of tests/offender.py) to file f of ``where``; ``missing`` is what is counted."""

    name: str
    who: str
    deed: str
    where: str
    asked: Access
    verdict: Verdict
    missing: Access = Access.NONE
    hook: Hook = Hook.OPEN


@dataclass(frozen=True)
class NetCase:
    """``who`` connects to ``address``; ``deed`` is how."""

    name: str
    who: str
    deed: str
    address: str
    port: int
    protocol: int
    verdict: Verdict


R, W = Access.READ, Access.WRITE
ALLOWED, OBSERVED, DENIED = Verdict.ALLOWED, Verdict.OBSERVED, Verdict.DENIED
TCP, UDP = 6, 17

FILES = (
    FileCase("own data is read", "alpha", "read", "alpha-data", R, ALLOWED),
    FileCase("own data is written", "alpha", "write", "alpha-data", W, ALLOWED),
    FileCase("own config is read", "alpha", "read", "alpha-config", R, ALLOWED),
    FileCase("own config is written", "alpha", "write", "alpha-config", W, DENIED, W),
    FileCase("own config is opened for both", "alpha", "update", "alpha-config", R | W, DENIED, W),
    FileCase("own config is truncated by a reader", "alpha", "truncate", "alpha-config", R | W, DENIED, W),
    FileCase("another's data is read", "alpha", "read", "beta-data", R, DENIED, R),
    FileCase("another's data by openat2", "alpha", "openat2", "beta-data", R, DENIED, R),
    FileCase("another's data by a number with rubbish above", "alpha", "high-number", "beta-data", R, DENIED, R),
    FileCase("own config by creat", "alpha", "creat", "alpha-config", W, DENIED, W),
    FileCase("another's data by symlink", "alpha", "symlink", "beta-data", R, DENIED, R),
    FileCase("another's data by O_PATH and reopening", "alpha", "reopen", "beta-data", R, DENIED, R),
    FileCase("another's data by a bind mount of its own", "alpha", "bind", "beta-data", R, DENIED, R),
    FileCase("another's directory is listed", "alpha", "list", "beta-data", R, DENIED, R),
    FileCase("another's data from a nested cgroup", "alpha", "nested", "beta-data", R, DENIED, R),
    FileCase("O_PATH alone reads nothing", "alpha", "path-only", "beta-data", Access.NONE, ALLOWED),
    FileCase("a stranger reads", "stranger", "read", "alpha-data", R, DENIED, R),
    FileCase("a stranger writes", "stranger", "write", "alpha-config", W, DENIED, W),
    FileCase("a watched container writes what it may read", "watched", "write", "alpha-config", W, OBSERVED, W),
    FileCase("a watched container reads what no rule grants it", "watched", "read", "alpha-data", R, OBSERVED, R),
)

CHANGES = tuple(
    FileCase(f"{who}: {deed} in {where}", who, deed, where, W, verdict, W, hook)
    for who, where, verdict in (
        ("alpha", "beta-data", DENIED),
        ("alpha", "alpha-config", DENIED),
        ("watched", "alpha-config", OBSERVED),
    )
    for deed, hook in (
        ("make", Hook.CREATE),
        ("mkdir", Hook.MKDIR),
        ("mknod", Hook.MKNOD),
        ("make-symlink", Hook.SYMLINK),
        ("link", Hook.LINK),
        ("unlink", Hook.UNLINK),
        ("rmdir", Hook.RMDIR),
        ("rename", Hook.RENAME),
        ("chmod", Hook.SETATTR),
        ("chown", Hook.SETATTR),
        ("utime", Hook.SETATTR),
        ("cut", Hook.SETATTR),
        ("setxattr", Hook.SETXATTR),
        ("removexattr", Hook.SETXATTR),
    )
)
"""Changes to what may be read only, or not at all; the same in one's own volume are allowed (deed ``changes``)."""

NETS = (
    NetCase("granted cidr and port", "alpha", "tcp", "203.0.113.10", 443, TCP, ALLOWED),
    NetCase("granted cidr, other port", "alpha", "tcp", "203.0.113.10", 80, TCP, DENIED),
    NetCase("granted cidr, other protocol", "alpha", "udp", "203.0.113.10", 443, UDP, DENIED),
    NetCase("excepted from the cidr", "alpha", "tcp", "203.0.113.200", 443, TCP, DENIED),
    NetCase("outside the cidr", "alpha", "tcp", "198.51.100.1", 443, TCP, DENIED),
    NetCase("IPv6 granted", "alpha", "tcp", "2001:db8::1", 443, TCP, ALLOWED),
    NetCase("IPv6 other port", "alpha", "tcp", "2001:db8::1", 80, TCP, DENIED),
    NetCase("mapped address, granted as IPv4", "alpha", "tcp", "::ffff:203.0.113.10", 443, TCP, ALLOWED),
    NetCase("mapped address, denied as IPv4", "alpha", "tcp", "::ffff:198.51.100.1", 443, TCP, DENIED),
    NetCase("datagram granted", "alpha", "sendto", "203.0.113.10", 53, UDP, ALLOWED),
    NetCase("datagram denied", "alpha", "sendto", "203.0.113.10", 54, UDP, DENIED),
    NetCase("IPv6 datagram denied", "alpha", "sendto", "2001:db8::1", 53, UDP, DENIED),
    NetCase("loopback is free", "alpha", "tcp", "127.0.0.1", 9, TCP, ALLOWED),
    NetCase("IPv6 loopback is free", "alpha", "tcp", "::1", 9, TCP, ALLOWED),
    NetCase("the unspecified address is loopback", "alpha", "tcp", "0.0.0.0", 9, TCP, ALLOWED),  # noqa: S104
    NetCase("a watched container connects", "watched", "tcp", "203.0.113.10", 443, TCP, OBSERVED),
    NetCase("no rule names a stranger", "stranger", "tcp", "203.0.113.10", 443, TCP, ALLOWED),
)
