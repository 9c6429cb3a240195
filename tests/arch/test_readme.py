"""The README's tour is of this tree."""

from __future__ import annotations

from pathlib import Path

from enforcer.edges.policyfile import load

ROOT = Path(__file__).resolve().parents[2]


def test_the_tour_shows_the_shipped_policy() -> None:
    """The hash in the README is the shipped policy's: a changed policy makes the tour's output untrue."""
    shown = load(ROOT / "policies" / "mcp.yaml").hash[:12]
    text = (ROOT / "README.md").read_text()
    assert f"policies/mcp.yaml: well formed, {shown}" in text
    assert f"policy {shown} is in force" in text
