"""One record in words: every fact that it holds, and what its mechanism means. For people who have to act on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from enforcer.core.event import Event, FileAttempt, NetAttempt, Notice
from enforcer.core.model import Hook, Mechanism, Mode, Verdict
from enforcer.core.timestamp import to_rfc3339
from enforcer.core.words import access_words, escape, event_words, protocol_word, target_words

Fact = tuple[str, str]
"""A label and what is to be said under it; escaped."""

HOOKS = {
    Hook.OPEN: "opening a file or listing a directory",
    Hook.UNIX: "connecting or sending to a socket that is a file",
    Hook.REFUSED: "opening what a read-only mount or the file's mode refuses",
    Hook.CONNECT4: "connecting over IPv4",
    Hook.CONNECT6: "connecting over IPv6",
    Hook.SENDMSG4: "sending a datagram over IPv4",
    Hook.SENDMSG6: "sending a datagram over IPv6",
    Hook.BORN: "a container's cgroup appears",
    Hook.DIED: "a container's cgroup goes",
    Hook.CREATE: "creating a file",
    Hook.MKDIR: "making a directory",
    Hook.MKNOD: "making a device, pipe or socket file",
    Hook.SYMLINK: "making a symbolic link",
    Hook.LINK: "giving a file another name (hard link)",
    Hook.UNLINK: "removing a file",
    Hook.RMDIR: "removing a directory",
    Hook.RENAME: "renaming or moving",
    Hook.SETATTR: "changing mode, owner, times or length",
    Hook.SETXATTR: "changing extended attributes or ACLs",
    Hook.RECEIVE: "receiving an open file from another process",
    Hook.TRACE: "attaching to a process of another",
    Hook.MOUNT: "mounting a filesystem with protected data",
    Hook.ESCAPE: "moving a process out of its container's cgroup",
    Hook.BPF: "reaching the agent's own maps, programs or links in the kernel",
    Hook.EXEC: "starting a program",
    Hook.IO_URING: "making a ring for opens that pass no system call",
    Hook.SOCKET: "making a raw or packet socket",
    Hook.EGRESS: "sending a packet that no call was judged for",
    Hook.SWEEP: "found open or connected when the agent looked",
    Hook.NAME: "asking Docker's resolver for a name outside",
}
"""What a task was doing when it was judged."""

PREVENTED = "prevented: it was refused before it happened"
PUNISHED = "killed after the fact: the process died, but what it had asked for may have happened"
ONLY_SEEN = "only observed: it went through"

_REFUSED_ELSEWHERE = "prevented by the mount or the file's mode, not by the enforcer, which saw and counted it"
_SWEPT = "found after the fact: it was cut, and what had gone through before is gone"
_PACKETS = "prevented by the host's packet filter: the packets were dropped"
_NO_MORE = "which is all that this host could do"
_BEFORE_MORE = {
    Hook.EXEC: "killed before the program's first instruction",
    Hook.IO_URING: "killed when it made the ring: nothing was opened by it",
}
"""Where death comes in time, though after the call."""

_SEEN_BY = {
    Mechanism.AUDIT: "by the kernel's audit, which can only watch",
    Mechanism.SWEEP: "when the agent looked at what was open already, and nothing could be cut",
    Mechanism.TRACEPOINT: "by a tracepoint",
}


def effect(event: Event) -> str:
    """Was it prevented, punished after the fact, or only seen? And why no more than that."""
    if event.verdict is Verdict.ALLOWED:
        return "allowed: it went through, as the policy wants"
    if event.verdict is Verdict.KILLED:
        return _BEFORE_MORE.get(event.hook, PUNISHED)
    if event.verdict is Verdict.OBSERVED:
        cause = "in monitor mode" if event.mode is Mode.MONITOR else _SEEN_BY.get(event.mechanism, _NO_MORE)
        return f"{ONLY_SEEN}, {cause}"
    special = {Mechanism.MOUNT: _REFUSED_ELSEWHERE, Mechanism.SWEEP: _SWEPT, Mechanism.NFT: _PACKETS}
    return special.get(event.mechanism, PREVENTED)


def told(item: Event | Notice) -> tuple[Fact, ...]:
    """Everything that a record says, in the order in which one asks; what it does not know is left out."""
    facts = _event(item) if isinstance(item, Event) else _notice(item)
    return tuple((label, text) for label, text in facts if text)


def _event(event: Event) -> Iterator[Fact]:
    yield "what", event_words(event)
    yield "effect", effect(event)
    yield "when", to_rfc3339(event.time_ns)
    yield "attempts", _attempts(event)
    yield from _who(event)
    yield from _attempted(event.attempt)
    yield "while", HOOKS[event.hook]
    yield "asked for", ", ".join(access_words(event.asked)) or "nothing by name"
    yield "granted", ", ".join(access_words(event.granted)) or "nothing"
    yield "rules", _list(event.rule) or "none grants it"
    yield "verdict", f"{event.verdict.name.lower()} by {event.mechanism.name.lower()} (hook {event.hook.name.lower()})"
    yield "errno", f"{event.errno} from what refused it before" if event.errno else ""
    yield "policy", f"{escape(event.policy)}, generation {event.generation}, {event.mode.name.lower()}"


def _attempts(event: Event) -> str:
    if event.count == 1:
        return "1"
    first = f", the first at {to_rfc3339(event.first_ns)}" if event.first_ns else ""
    return f"{event.count} alike in one record{first}, the last at {to_rfc3339(event.time_ns)}"


def _who(event: Event) -> Iterator[Fact]:
    who, process = event.who, event.process
    yield "container", escape(who.name) or "(no name known)"
    yield "id", escape(who.id)
    yield "image", escape(who.image)
    yield "labels", _list(f"{key}={value}" for key, value in sorted(who.labels.items()))
    yield "labels left out", f"{who.labels_cut}, which were too long to be recorded" if who.labels_cut else ""
    yield "networks", _list(f"{n} (internal)" if n in who.internal else n for n in who.networks)
    thread = f", thread {process.tid}" if process.tid != process.pid else ""
    who_it_was = f"{escape(process.name)}, pid {process.pid} on the host{thread}, uid {process.uid}"
    yield "process", who_it_was if process.name or process.pid else ""


def _attempted(attempt: FileAttempt | NetAttempt) -> Iterator[Fact]:
    yield "target", target_words(attempt)
    if isinstance(attempt, FileAttempt):
        yield "path", f"…/{escape(attempt.path)} (its upper end is not known)" if attempt.cut else escape(attempt.path)
        yield (
            "inode",
            f"{attempt.inode} on device {attempt.device >> 20}:{attempt.device & 0xFFFFF}" if attempt.inode else "",
        )
        return
    yield "address", escape(attempt.address)
    yield "port", f"{attempt.port}/{protocol_word(attempt.protocol)}" if attempt.port else ""
    yield "place", _place(attempt)


def _place(to: NetAttempt) -> str:
    network = escape(to.network)
    if to.resolver:
        return f"a name that is not on {network}" if network else "a name outside its networks"
    if to.external:
        return f"outside the container's networks; it would have left {network}" if network else "outside its networks"
    holder = f"container {escape(to.peer)}" if to.peer else "the host" if to.host else ""
    return " on ".join(filter(None, (holder, f"network {network}" if network else "")))


def _notice(notice: Notice) -> Iterator[Fact]:
    yield "what", escape(notice.message)
    yield "when", to_rfc3339(notice.time_ns)
    yield "action", f"{escape(notice.action)} by the agent: {escape(notice.outcome)}"
    for key, value in notice.fields.items():
        yield escape(key), escape(str(value))


def _list(texts: Iterable[str]) -> str:
    return ", ".join(map(escape, texts))
