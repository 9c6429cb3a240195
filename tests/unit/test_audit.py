"""Audit records taken apart: what the kernel wrote (tests/edges/recorded/audit.txt), and whatever else may come instead."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enforcer.core.model import Access, Hook
from enforcer.edges.audit_calls import ALL, CALLS, CHANGES, I386, X86_64, Call, call_of, deed_of, numbers_of
from enforcer.edges.audit_records import EOE, PATH, SYSCALL, Assembler, Item, Observation, text_of
from enforcer.edges.audit_rules import Key, Rule, listed

R, W, X = Access.READ, Access.WRITE, Access.EXEC
RECORDED = Path(__file__).parents[1] / "edges" / "recorded" / "audit.txt"
KEY = Key("00c0ffee", 4476, 0, 64, 77)


def messages() -> list[tuple[int, bytes]]:
    """(type, text) of the recorded messages."""
    lines = (line.split(b" ", 1) for line in RECORDED.read_bytes().splitlines())
    return [(int(kind), text) for kind, text in lines]


def observed(found: list[tuple[int, bytes]]) -> list[Observation]:
    """The calls that these messages tell of."""
    assembler = Assembler()
    return [seen for kind, text in found for seen in assembler.add(kind, text)]


def ours(found: list[Observation]) -> list[tuple[str, Hook, Access, int, tuple[Item, ...]]]:
    """(name, hook, asked, exit, items) of those that our rule matched."""
    told = []
    for seen in found:
        call = call_of(seen.arch, seen.syscall)
        if call and str(KEY).encode() in seen.keys:
            made = any(item.kind == "CREATE" for item in seen.items)
            told.append((call.name, *deed_of(call, seen.arguments, seen.how, made=made), seen.exit, seen.items))
    return told


def test_recorded_calls() -> None:
    """A Python program's deeds in a watched directory, in order, with odd names as bytes."""
    found = [(name, hook, asked, exit_) for name, hook, asked, exit_, _ in ours(observed(messages()))]
    assert found == [
        ("openat", Hook.OPEN, R, 3),
        ("rename", Hook.RENAME, W, 0),
        ("mkdir", Hook.MKDIR, W, 0),
        ("rmdir", Hook.RMDIR, W, 0),
        ("unlink", Hook.UNLINK, W, 0),
        ("openat2", Hook.CREATE, W, 3),
        ("fchmod", Hook.SETATTR, W, 0),
        ("symlink", Hook.SYMLINK, W, 0),
        ("unlink", Hook.UNLINK, W, 0),
        ("unlink", Hook.UNLINK, W, 0),
    ]


def test_recorded_names() -> None:
    """A name with a newline, an escape sequence and a quote, one of bytes that are no text, and a descriptor without one."""
    told = ours(observed(messages()))
    device = 0xFE << 20
    assert told[1][4][2:] == (
        Item(b"f", 2179493, device, "DELETE"),
        Item(b'g\n\x1b[31m"', 2179493, device, "CREATE"),
    )
    assert told[2][4][1].name == b"\xff \xfe"
    assert told[6][4] == (Item(None, 2179493, device, "NORMAL"),)
    assert told[7][4][1] == Item(b"/elsewhere", 0, 0, "UNKNOWN")


def test_who_did_it() -> None:
    """The process, its parent, its user and program, where it was, and when."""
    seen = next(s for s in observed(messages()) if s.syscall == 257)
    assert (seen.pid, seen.parent, seen.uid, seen.comm) == (4480, 4476, 0, b"python3")
    assert (seen.exe, seen.cwd, seen.complete) == (b"/usr/bin/python3", b"/srv/w", True)
    assert seen.time_ns == 1795351738_109_000_000


def test_events_come_interleaved() -> None:
    """However the messages of several events are mixed, each is put together as if it had come alone."""
    plain = observed(messages())
    by_serial: dict[bytes, list[tuple[int, bytes]]] = {}
    for kind, text in messages():
        by_serial.setdefault(text.split(b")")[0], []).append((kind, text))
    chosen = random.Random(7)  # noqa: S311 -- a shuffle that is the same each time
    for _ in range(20):
        waiting = [list(found) for found in by_serial.values()]
        mixed = []
        while waiting:
            one = chosen.choice(waiting)
            mixed.append(one.pop(0))
            waiting = [w for w in waiting if w]
        assert sorted(observed(mixed), key=lambda s: s.serial) == sorted(plain, key=lambda s: s.serial)


def test_an_end_that_never_comes() -> None:
    """An event without its EOE is taken after a while, and at once when too many wait."""
    cut = [(kind, text) for kind, text in messages() if kind != EOE]
    assembler = Assembler()
    assert [s for kind, text in cut for s in assembler.add(kind, text)] == []
    assert list(assembler.settle(0)) == []
    assert len(list(assembler.settle(2 * 10**18))) == len(observed(messages()))
    text = next(text for kind, text in messages() if kind == SYSCALL)
    many = (text.replace(b":9026)", b":%d)" % n) for n in range(10_000, 10_300))
    early = [s.serial for each in many for s in assembler.add(SYSCALL, each)]
    assert early == list(range(10_000, 10_044))


def test_a_missing_record_is_seen() -> None:
    """Without one of its PATH records an event is not complete; without its SYSCALL record it is counted as broken."""
    first = next(i for i, (kind, _) in enumerate(messages()) if kind == PATH)
    found = messages()
    seen = next(s for s in observed(found[:first] + found[first + 1 :]) if s.syscall == 257)
    assert (seen.complete, seen.items) == (False, ())
    assembler = Assembler()
    for kind, text in messages():
        if kind != SYSCALL:
            assert list(assembler.add(kind, text)) == []
    assert assembler.broken == sum(bool(s.items) for s in observed(messages()))


@given(st.data())
def test_torn_records_never_raise(data: st.DataObject) -> None:
    """Records that are cut, mixed up or made of anything: an observation or a broken one, never an exception."""
    found = data.draw(st.permutations(messages()))[:30]
    assembler = Assembler()
    for kind, text in found:
        torn = text[: data.draw(st.integers(0, len(text)))]
        junk = data.draw(st.binary(max_size=20))
        list(assembler.add(kind, torn + junk))
    list(assembler.settle(2 * 10**18))
    assert list(assembler.settle(2 * 10**18)) == []


@given(st.binary(min_size=1, max_size=300).filter(lambda b: b"\0" not in b))
def test_chosen_text_comes_back(text: bytes) -> None:
    """What a program chose is read back byte for byte, however the kernel writes it (audit_string_contains_control)."""
    plain = all(0x21 <= c <= 0x7E and c != ord('"') for c in text)
    written = b'"%s"' % text if plain else text.hex().upper().encode()
    assert text_of(written) == text


def test_a_name_cannot_forge_a_field() -> None:
    """A name that looks like the rest of a record is one value, in hexadecimal."""
    evil = b'x" inode=1 dev=00:00 nametype=NORMAL name="y'
    line = b"audit(1.000:9): item=0 name=%s inode=5 dev=00:10 nametype=DELETE" % evil.hex().encode()
    call = next(text for kind, text in messages() if kind == SYSCALL).replace(b"1795351737.877:9026", b"1.000:9")
    [seen] = observed([(SYSCALL, call), (PATH, line), (EOE, b"audit(1.000:9): ")])
    assert seen.items == (Item(evil, 5, 0x10, "DELETE"),)


def test_several_keys_of_one_rule() -> None:
    """A rule may have several keys: they come as one hexadecimal value, with a byte between them."""
    call = next(text for kind, text in messages() if kind == SYSCALL)
    both = call[: call.index(b"key=")] + b"key=" + b"\x01".join((b"theirs", str(KEY).encode())).hex().encode()
    serial = call.split(b")")[0] + b"): "
    [seen] = observed([(SYSCALL, both), (EOE, serial)])
    assert [Key.of(k) for k in seen.keys] == [None, KEY]


@pytest.mark.parametrize(
    "text", [b"", b"enforcer", b"enforcer:a:1:2:3", b"enforcer:a:b:0:64:1", b"other:a:1:0:64:1", b"\xff"]
)
def test_a_foreign_key_is_not_ours(text: bytes) -> None:
    """Whatever is not exactly of our make is somebody else's."""
    assert Key.of(text) is None


def test_a_rule_is_read_back() -> None:
    """What we write is what we recognize in the kernel's list; a shortened answer is none."""
    rule = Rule(KEY, "/srv/w", True, X86_64, numbers_of(ALL, X86_64))
    found = listed(rule.packed() + b"\0\0\0")
    assert found is not None
    assert (found.packed, found.key, found.hides) == (rule.packed(), KEY, False)
    assert listed(rule.packed()[:500]) is None


def named(name: str) -> Call:
    """A system call of the table."""
    return next(call for call in CALLS if call.name == name)


@pytest.mark.parametrize(
    ("name", "arguments", "how", "hook", "asked"),
    [
        ("open", (0, 0o2, 0, 0), None, Hook.OPEN, R | W),
        ("open", (0, 0o3, 0, 0), None, Hook.OPEN, R | W),
        ("openat", (0, 0, 0o1000, 0), None, Hook.OPEN, R | W),  # O_TRUNC
        ("openat", (0, 0, 0o10000000, 0), None, Hook.OPEN, Access.NONE),  # O_PATH
        ("openat2", (0, 0, 0, 24), 1, Hook.OPEN, W),
        ("openat2", (0, 0, 0, 24), None, Hook.OPEN, R | W),
        ("creat", (0, 0, 0, 0), None, Hook.OPEN, W),
        ("execve", (0, 0, 0, 0), None, Hook.EXEC, R | X),
        ("unlinkat", (0, 0, 0x200, 0), None, Hook.RMDIR, W),
        ("socketcall", (3, 0, 0, 0), None, Hook.UNIX, Access.CONNECT),
        ("socketcall", (2, 0, 0, 0), None, Hook.UNIX, Access.NONE),
    ],
)
def test_what_a_call_asks_for(
    name: str, arguments: tuple[int, ...], how: int | None, hook: Hook, asked: Access
) -> None:
    """By its flags; what cannot be told is the most that it may have been."""
    assert deed_of(named(name), arguments, how, made=False) == (hook, asked)


def test_no_number_means_two_calls() -> None:
    """Each number of each architecture stands once in the table, and fits into a rule's mask."""
    for at, arch in enumerate((X86_64, I386)):
        numbers = [call.numbers[at] for call in CALLS if call.numbers[at] is not None]
        assert len(numbers) == len(set(numbers))
        assert set(numbers_of(ALL, arch)) == set(numbers)
        assert max(numbers) < 2048
    assert not {call_of(X86_64, n) for n in numbers_of(CHANGES, X86_64)} & {
        named("open"),
        named("openat"),
        named("execve"),
    }
