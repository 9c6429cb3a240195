"""The shipped dashboard: valid by Grafana 10.1's own schema, a grid without overlaps, and queries of what the agent exports."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from grafana_foundation_sdk.models import common, dashboard, prometheus

from tests.unit.grafana import back, lost, mistakes
from tests.unit.promql import exported, named, wrong

SHIPPED = Path(__file__).parents[2] / "deploy" / "grafana" / "enforcer.json"
DASHBOARD = json.loads(SHIPPED.read_text())
PANELS = DASHBOARD["panels"]
QUERIES = [(panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]]
COLUMNS = 24
"""Of Grafana's grid."""


def test_grafanas_schema_knows_it_all():
    """Every name, and every value with its type: enumerations, numbers and texts, in panels, their options and queries."""
    assert mistakes(DASHBOARD) == []


def test_the_cells_of_tables_are_of_grafanas_types_too():
    """The classes of 10.1 leave a table's field options as they are: here they are read by the class that is meant for them."""
    customs = [panel["fieldConfig"]["defaults"]["custom"] for panel in PANELS if panel["type"] == "table"]
    assert customs
    for custom in customs:
        options = common.TableFieldOptions.from_json(custom)
        assert list(lost(custom, back(options))) == []
        assert custom["cellOptions"]["type"] in {mode.value for mode in common.TableCellDisplayMode}


def test_every_query_and_panel_was_read_as_what_it_is():
    """Not as something unknown, of which nothing would have been checked."""
    for panel in dashboard.Dashboard.from_json(DASHBOARD).panels:
        assert all(isinstance(target, prometheus.Dataquery) for target in panel.targets)
        assert type(panel.options).__module__ == f"grafana_foundation_sdk.models.{panel.type_val.replace('-', '')}"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: d.update(refersh="5s"), "refersh"),
        (lambda d: d["panels"][0]["options"].update(graphMod="none"), "graphMod"),
        (lambda d: d["panels"][0]["gridPos"].update(w="4"), "w"),
        (lambda d: d["panels"][0]["options"].update(graphMode="pie"), "graph_mode"),
        (lambda d: d["panels"][0]["targets"][0].update(instant="yes"), "instant"),
        (lambda d: d.update(graphTooltip=7), "graph_tooltip"),
    ],
)
def test_a_mistake_is_found(change, told):
    """A name that is none, and values of another type or outside an enumeration."""
    broken = json.loads(SHIPPED.read_text())
    change(broken)
    found = mistakes(broken)
    assert found
    assert all(f".{told}:" in line for line in found), found


def test_it_states_its_schema_and_is_no_grafanas_copy():
    """schemaVersion 38 is Grafana 10.1's. No database id, which belongs to one Grafana; a uid, so that links stay."""
    assert DASHBOARD["schemaVersion"] == 38
    assert "id" not in DASHBOARD
    assert re.fullmatch(r"[a-z0-9-]{8,40}", DASHBOARD["uid"])


def test_panels_have_an_id_of_their_own_a_title_and_a_description():
    """Grafana links by ids; a reader learns from the description what is counted."""
    ids = [panel["id"] for panel in PANELS]
    assert len(set(ids)) == len(ids)
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)
    assert all(panel["title"] and panel["description"] for panel in PANELS)


def test_panels_lie_beside_each_other():
    """Within the grid's 24 columns, and no cell of it is of two panels."""
    cells = [
        cell
        for at in (panel["gridPos"] for panel in PANELS)
        for cell in itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"]))
    ]
    assert max(x for x, _ in cells) < COLUMNS
    assert len(set(cells)) == len(cells)


def test_the_data_source_is_a_variable_everywhere():
    """No panel and no query names a Prometheus of one installation."""
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    wanted = {"type": "prometheus", "uid": "${datasource}"}
    sources = [variables["instance"]["datasource"], *(panel["datasource"] for panel in PANELS)]
    assert all(found == wanted for found in [*sources, *(t["datasource"] for p in PANELS for t in p["targets"])])


def test_every_query_is_of_the_chosen_hosts():
    """Each selector asks for the variable: none would show another host's numbers among those of the chosen ones."""
    for title, expr in QUERIES:
        selectors = re.findall(r"(\w+)\{([^}]*)\}", expr)
        assert {metric for metric, _ in selectors} == named(expr).metrics, title
        assert all('instance=~"$instance"' in matchers for _, matchers in selectors), title


def test_promtool_parses_every_query(tmp_path):
    """As recording rules, with Grafana's variables filled in."""
    filled = [expr.replace("$__rate_interval", "1m").replace("$instance", ".*") for _, expr in QUERIES]
    assert not any("$" in expr for expr in filled)
    rules = [{"record": f"query:{n}", "expr": expr} for n, expr in enumerate(filled)]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    argv = ["promtool", "check", "rules", "--lint=none", path]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout


@pytest.mark.parametrize(("title", "expr"), QUERIES, ids=lambda value: value[:30])
def test_queries_name_only_what_the_agent_exports(title, expr):
    """Metrics, labels and the values of labels."""
    assert wrong(expr) == [], title


def test_the_variables_query_names_what_the_agent_exports():
    """``label_values(metric, label)`` is Grafana's, not PromQL."""
    [query] = [v["query"] for v in DASHBOARD["templating"]["list"] if v["type"] == "query"]
    metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", query).groups()
    assert label in exported()[metric]


def test_legends_and_columns_name_labels_of_their_query():
    """A legend with a label that the query has summed away would be empty; a column that is renamed must be there."""
    for panel in PANELS:
        for target in panel["targets"]:
            names = named(target["expr"])
            labels = names.grouped or frozenset().union(*(exported()[metric] for metric in names.metrics))
            assert set(re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat", ""))) <= labels, panel["title"]
            for step in panel.get("transformations", ()):
                renamed = set(step["options"].get("renameByName", ()))
                assert renamed <= labels | {"Value"}, panel["title"]


def test_every_metric_of_the_agent_has_a_panel():
    """What is exported is shown somewhere, but for when somebody looked last, which has an alert."""
    shown = frozenset().union(*(named(expr).metrics for _, expr in QUERIES))
    assert exported().keys() - shown == {"up", "enforcer_posture_timestamp_seconds"}


def test_the_access_matrix_is_a_matrix():
    """A row for each container, a column for each object, the number in a coloured cell, as it is now."""
    [panel] = [panel for panel in PANELS if panel["title"].startswith("Access matrix")]
    [target], [step] = panel["targets"], panel["transformations"]
    assert named(target["expr"]).grouped == {"container", "object"}
    assert (target["format"], target["instant"]) == ("table", True)
    assert step["id"] == "groupingToMatrix"
    assert (step["options"]["rowField"], step["options"]["columnField"]) == ("container", "object")
    assert panel["fieldConfig"]["defaults"]["custom"]["cellOptions"]["type"] == "color-background"
    corner = f"{step['options']['rowField']}\\{step['options']['columnField']}"  # as Grafana calls the first column
    assert [o["matcher"]["options"] for o in panel["fieldConfig"]["overrides"]] == [corner]


def test_thresholds_rise_from_the_lowest():
    """The first has no value (-Infinity in JSON), as Grafana demands."""
    found = [
        p["fieldConfig"]["defaults"]["thresholds"]["steps"]
        for p in PANELS
        if "thresholds" in p["fieldConfig"]["defaults"]
    ]
    for steps in found:
        assert steps[0]["value"] is None
        assert [s["value"] for s in steps[1:]] == sorted(s["value"] for s in steps[1:])
