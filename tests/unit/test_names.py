"""Names as they stand in a DNS query, and which engines let them out."""

from __future__ import annotations

import pytest

from enforcer.core.model import Attachment, Container, Facts, Network
from enforcer.core.names import LONGEST, decoded, encoded, leaks_names, names_on


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
