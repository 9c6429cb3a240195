"""The shipped Prometheus files, as promtool and the guide see them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

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


def test_every_alert_has_a_case_that_fires():
    """No alert is shipped whose firing rules_test.yml does not show."""
    rules = yaml.safe_load((SHIPPED / "rules.yml").read_text())
    shipped = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    cases = yaml.safe_load((SHIPPED / "rules_test.yml").read_text())
    firing = {t["alertname"] for case in cases["tests"] for t in case["alert_rule_test"] if t["exp_alerts"]}
    assert firing == shipped
