"""The ECS mapping: nothing is lost, nothing raw reaches a terminal, and nothing that is not ours is believed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enforcer.core.event import Event, FileAttempt, NetAttempt, Notice, Process, Who
from enforcer.core.model import Access, Hook, Kind, Mechanism, Mode, ObjectId, Verdict
from enforcer.core.words import escape, unescape
from enforcer.edges.ecs import decode, encode, from_ecs, to_ecs
from enforcer.edges.ecs_templates import Templates
from enforcer.edges.ecs_writing import line_of
from enforcer.errors import EdgeError

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)
KERNEL_TEXT = st.binary(max_size=24).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
ANY_TEXT = st.text(alphabet=st.characters(), max_size=24) | st.sampled_from(
    ["a\nb", "\x1b[2J", "👩\u200d🚀", "\ud800", "\\x41"]
)
TEXT = KERNEL_TEXT | ANY_TEXT
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
ACCESS = st.integers(0, 15).map(Access)
TIMES = st.integers(0, 253_402_300_799_999_999_999)  # to the end of the year 9999
WHO = st.builds(
    Who,
    id=TEXT,
    name=TEXT,
    image=TEXT,
    labels=st.dictionaries(TEXT, TEXT, max_size=3),
    networks=TEXTS,
    internal=TEXTS,
    labels_cut=st.integers(0, 9),
)
FILES = st.builds(
    FileAttempt,
    object=st.builds(ObjectId, st.sampled_from(Kind), TEXT),
    path=TEXT,
    inode=U64,
    device=U32,
    cut=st.booleans(),
)
ADDRESSES = st.ip_addresses().map(str)
CONNECTS = st.builds(
    NetAttempt,
    address=ADDRESSES,
    port=st.integers(0, 65535),
    protocol=st.integers(0, 255),
    network=TEXT,
    external=st.booleans(),
    peer=TEXT,
    host=st.booleans(),
)
UNADDRESSED = st.builds(
    NetAttempt,
    address=st.just(""),
    port=st.just(0),
    protocol=st.integers(0, 255),
    network=TEXT,
    external=st.booleans(),
    socket=st.sampled_from(["raw", "packet"]),
)
QUESTIONS = st.builds(
    NetAttempt,
    address=st.just("127.0.0.11"),
    port=st.just(53),
    protocol=st.just(17),
    network=TEXT,
    resolver=st.just(True),
    name=TEXT,
)
EVENTS = st.builds(
    Event,
    sequence=U64,
    time_ns=TIMES,
    who=WHO,
    process=st.builds(Process, pid=U32, tid=U32, uid=U32, name=TEXT),
    attempt=FILES | CONNECTS | UNADDRESSED | QUESTIONS,
    asked=ACCESS,
    granted=ACCESS,
    mode=st.sampled_from(Mode),
    verdict=st.sampled_from(Verdict),
    mechanism=st.sampled_from(Mechanism),
    hook=st.sampled_from(Hook),
    generation=U32,
    policy=st.text("0123456789abcdef", max_size=64),
    rule=TEXTS,
    count=st.integers(1, 2**63),
    errno=st.integers(0, 4095),
    first_ns=st.just(0) | TIMES,
)
NOTICES = st.builds(
    Notice,
    sequence=U64,
    time_ns=TIMES,
    action=TEXT,
    message=TEXT,
    outcome=st.sampled_from(["success", "failure", "unknown"]) | TEXT,
    fields=st.dictionaries(TEXT, TEXT | U64, max_size=4),
)
SAMPLE = Event(
    sequence=7,
    time_ns=1_763_431_200_000_000_001,
    who=Who(id="ab" * 32, name="mcp-01", image="agent:1", networks=("mcp-internal",), internal=("mcp-internal",)),
    process=Process(pid=31, tid=32, uid=1001, name="cat\x1b]0;x\x07"),
    attempt=FileAttempt(ObjectId(Kind.VOLUME, "mcp-02-data"), "a\nb\udcff", inode=2**63 + 1, device=8 << 20 | 1),
    asked=Access.WRITE,
    granted=Access.NONE,
    mode=Mode.ENFORCE,
    verdict=Verdict.DENIED,
    mechanism=Mechanism.LSM,
    hook=Hook.OPEN,
    generation=3,
    policy="cd" * 32,
    count=2,
)


def strings_of(value):
    """Every string in a JSON document, keys included."""
    if isinstance(value, dict):
        return [s for k, v in value.items() for s in (k, *strings_of(v))]
    if isinstance(value, list | tuple):
        return [s for v in value for s in strings_of(v)]
    return [value] if isinstance(value, str) else []


@given(item=EVENTS | NOTICES)
def test_a_document_gives_back_the_very_event(item):
    """``from_ecs`` is the inverse of ``to_ecs`` for every event and notice, whatever a container called its files."""
    assert from_ecs(to_ecs(item)) == item


@given(item=EVENTS | NOTICES)
def test_a_line_survives_any_json_parser(item):
    """What another tool parses and writes again is still the same event: plain JSON, no bit lost, one line."""
    line = encode(item, item.sequence)
    assert line.count(b"\n") == 1
    assert decode(json.dumps(json.loads(line)).encode()) == item


@settings(deadline=None)  # four lines, each written both ways
@given(event=EVENTS, other=EVENTS, sequence=U64)
def test_the_fast_way_writes_what_the_document_says(event, other, sequence):
    """Lines made of templates are those of the declared document, byte for byte, whether the template is new or was there."""
    again = replace(
        event,
        time_ns=other.time_ns,
        process=other.process,
        count=other.count,
        first_ns=other.first_ns,
        attempt=moved(event.attempt, other.attempt),
    )
    for item in (event, again, other, event):
        assert encode(item, sequence) == msgspec.json.encode(line_of(item, sequence)) + b"\n"


def moved(attempt, other):
    """The attempt with what varies taken from another one."""
    if isinstance(attempt, FileAttempt) and isinstance(other, FileAttempt):
        return replace(attempt, path=other.path, inode=other.inode, device=other.device)
    if isinstance(attempt, NetAttempt) and isinstance(other, NetAttempt):
        return replace(attempt, address=other.address, port=other.port, name=other.name)
    return attempt


def test_whatever_marks_a_template_is_made_with_it_writes_the_same():
    """The marks are random: none may be taken for another one, wherever in a line they come together."""
    attempts = [NetAttempt(address, 443, 6, external=True) for address in ("203.0.113.10", "2001:db8::1")]
    for attempt in (SAMPLE.attempt, *attempts):
        event = replace(SAMPLE, attempt=attempt)
        wanted = msgspec.json.encode(line_of(event, 7)).decode() + "\n"
        assert {Templates().write(event, 7) for _ in range(300)} == {wanted}


def test_a_container_cannot_write_a_template():
    """Percent signs, format specifiers and text that looks like a slot are text."""
    for name in ("%s", "%%", "%(x)s", "{0}", "100%"):
        event = replace(SAMPLE, who=replace(SAMPLE.who, name=name), process=replace(SAMPLE.process, name=name))
        assert decode(encode(event, 7)) == event


def test_labels_are_part_of_the_container():
    """Two containers that differ only in their labels, which no key holds, are told apart."""
    for labels in ({"a": "1"}, {"a": "2"}, {}, {"a": "1"}):
        event = replace(SAMPLE, who=replace(SAMPLE.who, labels=labels))
        assert decode(encode(event, 7)) == event


def test_templates_have_a_bound():
    """More kinds of attempt than are kept are written all the same."""
    for generation in range(5000):
        event = replace(SAMPLE, generation=generation)
        assert decode(encode(event, 7)) == event


@given(item=EVENTS | NOTICES)
def test_no_line_can_move_a_cursor(item):
    """No control character, bidirectional control, line separator or lone surrogate is in any string of a document."""
    assert all(s.isprintable() for s in strings_of(json.loads(encode(item, 1))))


@given(text=TEXT)
def test_escape_is_reversible(text):
    """``unescape`` gives back what ``escape`` was given, and kernel bytes that are no UTF-8 show as bytes."""
    assert unescape(escape(text)) == text


def test_a_byte_that_is_no_utf8_reads_as_that_byte():
    """The kernel's byte 0xff is shown as \\xff, the character U+0085 as \\u0085, and a backslash doubles."""
    raw = b"\xff\\".decode("utf-8", "surrogateescape")
    assert escape(raw + "\x85") == "\\xff\\\\\\u0085"


@pytest.mark.parametrize("text", ["\\q", "\\x4", "tail\\", "\\U00110000"])
def test_an_escape_that_we_never_write_is_refused(text):
    """A line that somebody edited by hand is not guessed at."""
    with pytest.raises(ValueError):
        unescape(text)


def test_the_fields_are_where_ecs_has_them():
    """A reader that knows ECS finds time, container, process, file and outcome without knowing us."""
    document = to_ecs(SAMPLE)
    assert document["@timestamp"] == "2025-11-18T02:00:00.000000001Z"
    assert document["message"] == (
        "mcp-01 tried to write volume mcp-02-data at a\\x0ab\\xff with cat\\x1b]0;x\\x07, 2 times: denied by lsm"
    )
    assert document["event"]["kind"] == "alert"
    assert document["event"]["outcome"] == "failure"
    assert document["event"]["category"] == ["file", "intrusion_detection"]
    assert document["container"]["name"] == "mcp-01"
    assert document["process"] == {"pid": 31, "thread": {"id": 32}, "name": "cat\\x1b]0;x\\x07"}
    assert document["file"] == {"path": "a\\x0ab\\xff", "inode": str(2**63 + 1), "device": str(8 << 20 | 1)}
    assert document["enforcer"]["object"] == {"kind": "volume", "name": "mcp-02-data"}
    assert (document["enforcer"]["verdict"], document["enforcer"]["access"]) == ("denied", ["write"])


def test_timesketch_finds_what_it_wants():
    """``datetime`` is the same instant as ``@timestamp``, and the description tells attempts from notices."""
    attempt, notice = to_ecs(SAMPLE), to_ecs(Notice(1, SAMPLE.time_ns, "started", "the agent started"))
    assert attempt["datetime"] == attempt["@timestamp"] == notice["datetime"]
    assert (attempt["timestamp_desc"], notice["timestamp_desc"]) == ("Access attempt", "Enforcer notice")


def test_several_attempts_say_when_they_began():
    """``event.start`` and ``event.end`` enclose identical attempts; a single one has neither."""
    first = SAMPLE.time_ns - 5_000_000_000
    event = to_ecs(replace(SAMPLE, first_ns=first))["event"]
    assert (event["start"], event["end"]) == ("2025-11-18T01:59:55.000000001Z", "2025-11-18T02:00:00.000000001Z")
    assert {"start", "end"}.isdisjoint(to_ecs(SAMPLE)["event"])


@pytest.mark.parametrize("name", ["attempt", "notice"])
def test_a_line_of_schema_1_is_read(name):
    """What the first version wrote, recorded as it was, is still understood."""
    line = (Path(__file__).parent / "recorded" / f"journal-1-{name}.jsonl").read_bytes()
    assert json.loads(line)["enforcer"]["schema"] == 1
    assert decode(line) == (SAMPLE if name == "attempt" else Notice(7, SAMPLE.time_ns, "started", "the agent started"))


def test_a_line_of_schema_1_that_is_damaged_is_refused():
    """The older schema is no way round the checks."""
    line = (Path(__file__).parent / "recorded" / "journal-1-attempt.jsonl").read_bytes()
    with pytest.raises(EdgeError, match="not a record of schema 1"):
        decode(line.replace(b'"pid":31', b'"pid":"x"'))


def test_a_connection_names_its_destination():
    """IPv6 destinations, transport and the network that would have been left are in their ECS fields."""
    attempt = NetAttempt("2001:db8::1", 443, 6, network="mcp-internal", external=True)
    document = to_ecs(Event(**{**SAMPLE.__dict__, "attempt": attempt, "asked": Access.CONNECT, "count": 1}))
    assert document["destination"] == {"ip": "2001:db8::1", "port": 443}
    assert document["network"] == {"transport": "tcp", "iana_number": "6", "type": "ipv6", "name": "mcp-internal"}
    assert "connect to [2001:db8::1]:443/tcp outside mcp-internal" in document["message"]


def changed(path, value):
    """The sample's document with one field set, or removed where ``value`` is None."""
    document = json.loads(encode(SAMPLE, 7))
    *parents, last = path.split("/")
    section = document
    for parent in parents:
        section = section[parent]
    section[last] = value
    if value is None:
        del section[last]
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{}", "not a record of this journal"),
        (b'{"event": {"dataset": "nginx"}}', "not a record of this journal"),
        (b"half a li", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"\0" * 64, "not JSON"),
        (b'{"a":' + b"[" * 100_000, "not JSON"),
        (changed("enforcer/schema", 3), "schema 3 is unknown"),
        (changed("enforcer/verdict", "maybe"), "'maybe' is none of allowed, observed, denied, killed"),
        (changed("enforcer/access", ["read", "fly"]), "'fly' is none of"),
        (changed("event/module", "auditd"), "module"),
        (changed("@timestamp", "yesterday"), "not a time"),
        (changed("@timestamp", "2025-13-18T02:00:00.000000001Z"), "month"),
        (changed("file/inode", "x"), "invalid literal"),
        (changed("file/path", "\\q"), "an escape"),
        (changed("file", None), "neither file"),
        (changed("container", None), "container"),
        (changed("process/pid", "31"), "pid"),
    ],
)
def test_what_is_not_ours_is_refused_with_the_reason(line, reason):
    """A foreign line, a damaged one or one of a newer schema raises ``EdgeError`` in one line that says why."""
    with pytest.raises(EdgeError, match=reason) as caught:
        decode(line)
    assert "\n" not in str(caught.value)


def test_a_destination_that_is_no_address_is_refused():
    """Replay computes with addresses: what is none is refused where it is read, with its place."""
    attempt = NetAttempt("203.0.113.10", 443, 6)
    line = encode(Event(**{**SAMPLE.__dict__, "attempt": attempt}), 1).replace(b'"203.0.113.10"', b'"example.com"')
    with pytest.raises(EdgeError, match="does not appear to be an IPv4 or IPv6 address"):
        decode(line)


def test_a_document_that_no_json_holds_is_refused():
    """``from_ecs`` refuses values that JSON has no form for, and strings that are no Unicode."""
    for document in ({"event": object()}, {"event": "\ud800"}):
        with pytest.raises(EdgeError):
            from_ecs(document)
