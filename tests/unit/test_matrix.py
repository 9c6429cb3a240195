"""The matrix shows what the rows hold."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

from hypothesis import given, settings

from enforcer.core.decide import judge_file
from enforcer.core.explain import explain_data
from enforcer.core.matrix import matrix
from enforcer.core.model import Access, Kind, Mode, NetRule, ObjectId, ToCidr, ToHost, Verdict
from tests.unit.worlds import GUIDE, GUIDE_FACTS, built, facts, hosts, policies, tcp


def cell(table, container: str, name: str, kind: Kind = Kind.VOLUME) -> str:
    """One cell by its names."""
    return table.cells[table.containers.index(container)][table.objects.index(ObjectId(kind, name))]


def reach(table, container: str) -> tuple[str, ...]:
    """The destinations of a container."""
    return table.network[table.containers.index(container)]


def test_the_guides_matrix_as_a_table():
    """Rows and columns of the guide's data access matrix, with its cells."""
    table = matrix(GUIDE, GUIDE_FACTS)
    assert table.containers == tuple(sorted(c.name for c in GUIDE_FACTS.containers.values()))
    assert ObjectId(Kind.VOLUME, "scratch") not in table.objects
    assert cell(table, "mcp-01-selector", "mcp-01-selector-data") == "rw"
    assert cell(table, "mcp-01-selector", "mcp-01-selector-config") == "r"
    assert cell(table, "mcp-01-selector", "mcp-02-backend-data") == "-"
    assert cell(table, "mcp-20-orchestrator", "mcp-02-backend-config") == "r"
    assert cell(table, "mcp-02-backend", "mcp-02-backend", Kind.LAYER) == "rw"
    assert cell(table, "stranger", "/var/run/docker.sock", Kind.PATH) == "-"


def test_the_network_as_a_table():
    """Destinations are named as the policy names them, with their ports and exceptions."""
    table = matrix(GUIDE, GUIDE_FACTS)
    assert reach(table, "mcp-01-selector") == ("mcp-internal",)
    assert reach(table, "mcp-20-orchestrator") == ("mcp-internal", "database:5432/tcp")
    assert reach(table, "workstation") == ("mcp-internal", "0.0.0.0/0:443/tcp", "not 169.254.169.254/32")
    assert reach(table, "database") == ()
    assert reach(table, "stranger") == ("anywhere",)
    assert reach(table, "lurker") == ("mcp-internal",)


def test_hosts_and_ranges_are_named():
    """The host is called host; a range shows both ends, an IPv6 prefix its own notation."""
    rules = (NetRule("r", ("gateway",), (ToHost(tcp(8000, 8099)), ToCidr(ip_network("2001:db8::/32")))),)
    assert reach(matrix(replace(GUIDE, net_rules=rules), GUIDE_FACTS), "workstation") == (
        "host:8000-8099/tcp",
        "2001:db8::/32",
    )


def test_monitor_is_marked():
    """A question mark says that what the cell does not grant is only watched."""
    table = matrix(replace(GUIDE, mode=Mode.MONITOR), GUIDE_FACTS)
    assert cell(table, "mcp-01-selector", "mcp-01-selector-config") == "r?"
    assert cell(table, "stranger", "database-data") == "-?"
    assert reach(table, "mcp-01-selector") == ("mcp-internal?",)


def test_an_empty_host_has_an_empty_matrix():
    """Nothing to show is no error."""
    table = matrix(GUIDE, facts())
    assert (table.containers, table.objects, table.cells, table.network) == ((), (), (), ())


@settings(deadline=None, max_examples=100)
@given(policy=policies, host=hosts())
def test_cells_and_the_kernel_agree(policy, host):
    """Each cell says what the rows let the container do with the object, and explain says the same."""
    image, ids = built(policy, host)
    table = matrix(policy, host)
    bits = {"-": Access.NONE, "r": Access.READ, "rw": Access.READ | Access.WRITE}
    for who in host.containers.values():
        for object_id in table.objects:
            shown = cell(table, who.name, object_id.name, object_id.kind)
            answer = explain_data(policy, host, container=who.id, target=object_id, asked=Access.WRITE)
            assert (answer.verdict is Verdict.ALLOWED) is shown.startswith("rw")
            assert (answer.mode is Mode.MONITOR) is shown.endswith("?")
            for inode in host.objects[object_id].inodes:
                found = judge_file(image, subject=ids.subject(who.id), inodes=[inode], asked=Access.READ)
                assert found.granted & (Access.READ | Access.WRITE) == bits[shown.rstrip("?")]
