"""The shipped Prometheus files, as promtool and the guide see them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from enforcer.core.enums import Mechanism
from enforcer.runtime.ladder import DENYING, rungs
from enforcer.runtime.probes import PROGRAMS
from enforcer.sinks.metrics import CAUSES
from tests.unit.promql import exported, named, wrong

SHIPPED = Path(__file__).parents[2] / "deploy" / "prometheus"


@pytest.mark.parametrize(
    "question",
    [
        ("check", "config", "prometheus.yml"),
        ("check", "rules", "--lint=all", "--lint-fatal", "rules.yml"),
        ("test", "rules", "rules_test.yml"),
    ],
    ids=" ".join,
)
def test_promtool_accepts_what_is_shipped(question):
    """Prometheus's own tool loads the files, and its simulation of the alerts ends as rules_test.yml says."""
    done = subprocess.run(["promtool", *question], cwd=SHIPPED, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


GUIDE = """
groups:
  - name: mcp-isolation
    rules:
      - alert: MCPDataIsolationViolation
        expr: mcp_data_access_violations_total > 0
        labels:
          severity: critical
        annotations:
          summary: "MCP data isolation violated"

      - alert: MCPNetworkIsolationBreach
        expr: mcp_external_connections_total{network="mcp-internal"} > 0
        labels:
          severity: critical
        annotations:
          summary: "MCP network isolation breached"
"""
"""The guide's "Alert Rules"."""


def test_the_guides_alerts_are_shipped_word_for_word():
    """Same group, names, expressions, labels, annotations and order as in the guide; nothing added to that group."""
    shipped = yaml.safe_load((SHIPPED / "rules.yml").read_text())
    assert shipped["groups"][0] == yaml.safe_load(GUIDE)["groups"][0]


RULES = [rule for group in yaml.safe_load((SHIPPED / "rules.yml").read_text())["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
RECORDS = {rule["record"]: rule for rule in RULES if "record" in rule}
CASES = yaml.safe_load((SHIPPED / "rules_test.yml").read_text())["tests"]


def test_every_alert_has_a_case_that_fires_and_one_that_does_not():
    """No alert is shipped whose firing and whose silence rules_test.yml does not show."""
    asked = [t for case in CASES for t in case.get("alert_rule_test", ())]
    assert {t["alertname"] for t in asked if t["exp_alerts"]} == ALERTS.keys()
    assert {t["alertname"] for t in asked if not t["exp_alerts"]} == ALERTS.keys()


def test_every_recording_rule_has_a_case_with_its_value():
    """Samples that rules_test.yml expects; an empty answer would show nothing."""
    asked = [t for case in CASES for t in case.get("promql_expr_test", ())]
    assert {t["expr"] for t in asked if t["exp_samples"]} == RECORDS.keys()


def test_no_two_rules_have_one_name():
    """A case names its alert and nothing else."""
    assert len(ALERTS) + len(RECORDS) == len(RULES)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_rules_name_only_what_the_agent_exports(rule):
    """Metrics, labels, and the values of those labels that have a closed list of them; in summaries too."""
    assert wrong(rule["expr"]) == []
    texts = " ".join(rule.get("annotations", {}).values())
    labels = frozenset().union(*(exported()[metric] for metric in named(rule["expr"]).metrics))
    assert set(re.findall(r"\$labels\.(\w+)", texts)) <= labels


def test_cases_feed_only_series_that_the_agent_exports():
    """A case with a label or a value that never comes would show an alert that never fires."""
    series = [s["series"] for case in CASES for s in case["input_series"]]
    assert {s: wrong(s) for s in series if wrong(s)} == {}
    known = exported()
    for s in series:
        assert {"job", "instance"} | {label for _, label in named(s).asked} >= known[s.partition("{")[0]], s


@pytest.mark.parametrize(
    ("expr", "told"),
    [
        ("sum by (container) (mcp_data_access_violations_total)", []),
        ("mcp_data_acess_violations_total > 0", ["no metric mcp_data_acess_violations_total"]),
        ('enforcer_probe_info{hok="open"} == 1', ["enforcer_probe_info has no label hok"]),
        ("sum by (object) (enforcer_probe_info)", ["nothing here has a label object"]),
        ('increase(enforcer_events_lost_total{cause=~"ring|journal"}[10m]) > 0', ["cause is never ring"]),
        ("up == 0 unless enforcer_selftest_success offset 10m", []),
    ],
)
def test_the_comparison_finds_what_is_wrong(expr, told):
    """Each kind of mistake, and no other."""
    assert wrong(expr) == told


def causes_of(expr):
    """The causes that an alert on losses takes: its selector is one cause, or all but some."""
    operator, text = re.search(r'cause(=|!~)"([^"]*)"', expr).groups()
    return set(CAUSES.values()) - set(text.split("|")) if operator == "!~" else {text}


def test_each_cause_of_a_loss_is_told_by_exactly_one_alert():
    """A new cause is told by the general one until it has one of its own."""
    told = [causes_of(rule["expr"]) for rule in ALERTS.values() if "enforcer_events_lost_total" in rule["expr"]]
    assert sorted(cause for causes in told for cause in causes) == sorted(CAUSES.values())


def test_a_lesser_mechanism_is_told_of_every_hook_that_could_be_held_better():
    """What is left out of the alert has no mechanism that refuses; what is in it takes every one that does not."""
    expr = ALERTS["EnforcerDegraded"]["expr"]
    left_out, lesser = (
        set(re.search(rf'{label}[!=]~"([^"]*)"', expr)[1].split("|")) for label in ("hook", "mechanism")
    )
    groups = {program.group for program in PROGRAMS}
    assert left_out == {group for group in groups if not {mechanism for mechanism, _ in rungs(group)} & DENYING}
    held = {mechanism for group in groups - left_out for mechanism, _ in rungs(group)} | {
        Mechanism.AUDIT,
        Mechanism.SWEEP,
    }
    assert lesser == {mechanism.name.lower() for mechanism in held - DENYING}
