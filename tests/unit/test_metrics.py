"""What a scrape shows, made from a reading of names and numbers."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from enforcer.core.model import Access, Verdict
from enforcer.sinks.metrics import Metrics, Reading, Violation, access_label

READING = Reading(
    violations={
        Violation("mcp-01", Verdict.KILLED, object="mcp-02-data", access=Access.READ): 3,
        Violation("mcp-01", Verdict.OBSERVED, object="mcp-02-data", access=Access.READ | Access.WRITE): 2,
        Violation("mcp-01", Verdict.DENIED, network="mcp-internal"): 5,
        Violation("mcp-01", Verdict.DENIED, destination="database"): 7,
    },
    lost={"ring-full": 11},
    suppressed={"mcp-01": 13},
    holds={"open": "lsm", "connect4": "cgroup"},
    containers={"running": 2},
    policy=("abc", 4, "enforce"),
    load_failures=17,
    selftest=True,
    canary_timestamp=1700000000.0,
    egress_blocked={"mcp-internal": 19, "database": 0},
)


def scraped(reading: Reading) -> dict[str, dict[frozenset[tuple[str, str]], float]]:
    """Sample name → labels → value, through Prometheus's own text format."""
    registry = CollectorRegistry()
    registry.register(Metrics(lambda: reading))
    found: dict[str, dict[frozenset[tuple[str, str]], float]] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


def labelled(**labels: str) -> frozenset[tuple[str, str]]:
    """Labels as a key."""
    return frozenset(labels.items())


def test_violations_have_the_contracts_names_and_labels() -> None:
    """Each kind of violation under its metric, with exactly the labels of DESIGN section 6."""
    found = scraped(READING)
    assert found["mcp_data_access_violations_total"] == {
        labelled(container="mcp-01", object="mcp-02-data", access="read", action="killed"): 3,
        labelled(container="mcp-01", object="mcp-02-data", access="read-write", action="observed"): 2,
    }
    assert found["mcp_external_connections_total"] == {
        labelled(network="mcp-internal", container="mcp-01", action="denied"): 5
    }
    assert found["mcp_network_violations_total"] == {
        labelled(container="mcp-01", destination="database", action="denied"): 7
    }


def test_packets_that_the_guard_stopped() -> None:
    """One series for each guarded network, those where nothing has been stopped too: an alert needs the zero before the one."""
    assert scraped(READING)["enforcer_egress_blocked_packets_total"] == {
        labelled(network="mcp-internal"): 19,
        labelled(network="database"): 0,
    }


def test_every_other_metric() -> None:
    """Losses, suppressed events, probes, policy, containers and the self-test."""
    found = scraped(READING)
    assert found["enforcer_events_lost_total"][labelled(cause="ring-full")] == 11
    assert found["enforcer_events_lost_total"][labelled(cause="journal")] == 0
    assert found["enforcer_events_suppressed_total"] == {labelled(container="mcp-01"): 13}
    assert found["enforcer_probe_info"] == {
        labelled(hook="open", mechanism="lsm"): 1,
        labelled(hook="connect4", mechanism="cgroup"): 1,
    }
    assert found["enforcer_policy_info"] == {labelled(hash="abc", generation="4", mode="enforce"): 1}
    assert found["enforcer_policy_load_failures_total"] == {labelled(): 17}
    assert found["enforcer_containers"] == {labelled(state="running"): 2}
    assert found["enforcer_selftest_success"] == {labelled(): 1}
    assert found["enforcer_canary_timestamp_seconds"] == {labelled(): 1700000000}


def test_access_labels() -> None:
    """The bits that were missing, in a fixed order."""
    assert [access_label(Access(n)) for n in (1, 2, 3, 4, 5, 8)] == [
        "read",
        "write",
        "read-write",
        "exec",
        "read-exec",
        "connect",
    ]
