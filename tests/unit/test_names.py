"""Names as they stand in a DNS query, and which engines let them out."""

from __future__ import annotations

import pytest

from enforcer.core.enums import NameKind
from enforcer.core.model import Attachment, Container, Facts, Network
from enforcer.core.names import LONGEST, Link, Scope, decoded, encoded, leaks_names, names_of, names_on


@pytest.mark.parametrize("name", ["db", "mcp-01.inner", "2.0.30.172.in-addr.arpa", "a" * 63])
def test_a_name_is_what_a_query_holds(name):
    """A length before each label, a zero at the end, zeros after it; and back."""
    wire = encoded(name)
    assert len(wire) == LONGEST
    assert wire[0] == len(name.split(".")[0])
    assert decoded(wire) == name


@pytest.mark.parametrize("name", ["", ".", "a..b", "a" * 64, "ä", ".".join(["a" * 60] * 3)])
def test_what_nobody_can_ask_for_has_no_row(name):
    """Labels have 1 to 63 ASCII characters; what does not fit the kernel's key is refused, not cut."""
    assert encoded(name) == b""


def test_all_that_docker_answers_for():
    """Name, short id, aliases, each with the network's name too, and addresses of both families backwards."""
    place = Attachment("inner", ("172.30.0.2", "2001:db8::2"), ("db",))
    container = Container("ab" * 32, "alpha", attachments=(place, Attachment("gone", ("10.0.0.1",))))
    found = names_on(Facts({container.id: container}, {"inner": Network("n1", "inner")}))
    back = "2." + "0." * 23 + "8.b.d.0.1.0.0.2.ip6.arpa"
    own = ("alpha", "abababababab", "db")
    wanted = {*own, *(f"{name}.inner" for name in own), "2.0.30.172.in-addr.arpa", back}
    assert {network: {decoded(name) for name in names} for network, names in found.items()} == {"n1": wanted}


def test_capital_letters_count_where_docker_says_so():
    """Names of containers are compared by any case; the network's name after one, and an address backwards, as written."""
    container = Container("ab" * 32, "Alpha", attachments=(Attachment("Inner", ("172.30.0.2",), ("DB",)),))
    [found] = names_on(Facts({container.id: container}, {"Inner": Network("n1", "Inner")})).values()
    cases = {decoded(name): case for name, case in found.items()}
    assert {name for name, case in cases.items() if case is NameKind.ANY_CASE} == {"alpha", "abababababab", "db"}
    assert {name for name, case in cases.items() if case is NameKind.AS_WRITTEN} == {
        *("Alpha.Inner", "alpha.Inner", "DB.Inner", "db.Inner", "abababababab.Inner")
    }
    assert {name for name, case in cases.items() if case is NameKind.BACKWARDS} == {"2.0.30.172.in-addr.arpa"}


def test_who_has_no_address_has_no_name():
    """Docker asks others for a container that does not run, and for one that shares another's network namespace."""
    stopped = Container("ab" * 32, "stopped", attachments=(Attachment("inner"),))
    assert names_on(Facts({stopped.id: stopped}, {"inner": Network("n1", "inner")})) == {}


def test_a_name_that_two_ways_lead_to_is_compared_by_the_wider():
    """A container called as another one is with the network's name: whoever asks for it in capitals is answered."""
    dotted = Container("ab" * 32, "db.inner", attachments=(Attachment("inner", ("172.30.0.2",)),))
    plain = Container("cd" * 32, "db", attachments=(Attachment("inner", ("172.30.0.3",)),))
    for order in ((dotted, plain), (plain, dotted)):
        [found] = names_on(Facts({c.id: c for c in order}, {"inner": Network("n1", "inner")})).values()
        assert found[encoded("db.inner")] is NameKind.ANY_CASE


LINKED = Scope(("n1",), (Link("n1", "Alpha", "Boss"),))


def test_a_link_is_a_name_for_who_has_it():
    """Its alias, with the network's name too, each as it is written; without the link there is neither."""
    container = Container("ab" * 32, "alpha", attachments=(Attachment("inner", ("172.30.0.2",)),))
    facts = Facts({container.id: container}, {"inner": Network("n1", "inner")})
    on = names_on(facts)
    plain = names_of(Scope(("n1",)), facts, on)
    found = names_of(LINKED, facts, on)
    assert {decoded(name) for name in found.keys() - plain.keys()} == {"Boss", "Boss.inner"}
    assert {found[encoded(name)] for name in ("Boss", "Boss.inner")} == {NameKind.AS_WRITTEN}


@pytest.mark.parametrize("place", [(), (Attachment("inner"),), (Attachment("outer", ("172.31.0.2",)),)])
def test_a_link_to_nobody_is_no_name(place):
    """Docker would ask outside for the alias of a container that is gone, that does not run, or that is on another network."""
    container = Container("ab" * 32, "alpha", attachments=place)
    facts = Facts({container.id: container}, {n: Network(i, n) for i, n in (("n1", "inner"), ("n2", "outer"))})
    assert encoded("Boss") not in names_of(LINKED, facts, names_on(facts))


def test_scopes_are_told_apart_by_their_links():
    """Their numbers are kept under what they hold, so that no link is another container's."""
    others = [Scope(("n1",)), Scope(("n1", "n2")), LINKED, Scope(("n1",), (Link("n1", "Boss", "Alpha"),)), Scope()]
    assert len({scope.content for scope in others}) == len(others)


@pytest.mark.parametrize(
    ("version", "leaks"),
    [
        ("20.10.24+dfsg1", True),
        ("23.0.10", True),
        ("23.0.11", False),
        ("24.0.9", True),
        ("25.0.4", True),
        ("25.0.5", False),
        ("26.0.0", False),
        ("28.2.2", False),
        ("unknown", True),
    ],
)
def test_engines_that_let_names_out(version, leaks):
    """CVE-2024-29018, by the versions that its advisory names."""
    assert leaks_names(version) is leaks
