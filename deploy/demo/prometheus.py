"""A real Prometheus with the shipped files, of which it takes what the demo's world has.

The intervals are shorter, so that nobody waits 15 seconds; containers are not scraped, since the demo's serve no metrics.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass

import yaml

from deploy.demo.agent import PROJECT
from deploy.demo.engine import Engine
from deploy.demo.ledger import Ledger
from deploy.demo.namespace import Namespace
from deploy.demo.process import Process, await_that, last_words
from enforcer.errors import EdgeError

SHIPPED = PROJECT / "deploy" / "prometheus"
PORT = 9490
"""Not 9090: a Prometheus of the host's own may be there."""

GUIDES_ALERTS = frozenset({"MCPDataIsolationViolation", "MCPNetworkIsolationBreach"})

HOSTS_ALERTS = frozenset({"EnforcerDegraded", "EnforcerUnheldHook"})
"""They say what this host's kernel can do, not how the enforcer is; the demo says it too, in its first lines."""


@dataclass(frozen=True)
class Alert:
    """A firing alert."""

    name: str
    labels: Mapping[str, str]
    summary: str

    def __str__(self) -> str:
        labels = ", ".join(
            f"{k}={v}" for k, v in sorted(self.labels.items()) if k not in ("alertname", "job", "instance")
        )
        return f"{self.name}: {self.summary} ({labels})"


@dataclass(frozen=True)
class Prometheus:
    """The running server."""

    process: Process
    namespace: Namespace

    def firing(self) -> list[Alert]:
        """The alerts that fire now, by its own API."""
        answer = json.loads(self.namespace.get("/api/v1/alerts", PORT))
        return [
            Alert(name=a["labels"]["alertname"], labels=a["labels"], summary=a["annotations"]["summary"])
            for a in answer["data"]["alerts"]
            if a["state"] == "firing"
        ]

    def await_guides_alerts(self, seconds: float = 20) -> list[Alert]:
        """What fires once both alerts of the guide do, or after ``seconds``."""
        try:
            await_that("both alerts", lambda: {a.name for a in self.firing()} >= GUIDES_ALERTS, seconds=seconds)
        except EdgeError:
            return self.firing() if self.process.alive else []
        return self.firing()


def start_prometheus(engine: Engine, ledger: Ledger) -> Prometheus:
    """Start it beside the agent; ready when it has loaded the rules and scraped once."""
    directory = engine.directory / "prometheus"
    directory.mkdir()
    config = yaml.safe_load((SHIPPED / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"] = [job for job in config["scrape_configs"] if "docker_sd_configs" not in job]
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
    shutil.copy(SHIPPED / "rules.yml", directory)
    log = directory / "prometheus.log"
    options = {
        "config.file": directory / "prometheus.yml",
        "storage.tsdb.path": directory / "data",
        "web.listen-address": f"127.0.0.1:{PORT}",
    }
    words = (f"--{name}={value}" for name, value in options.items())
    process = ledger.add_process(engine.namespace.start("prometheus", *words, name="prometheus", log=log))
    server = Prometheus(process=process, namespace=engine.namespace)
    await_that("Prometheus to scrape the enforcer", lambda: not process.alive or _scrapes(server), seconds=30)
    if not process.alive:
        raise EdgeError(f"prometheus ended at once: {last_words(log)}")
    return server


def _scrapes(server: Prometheus) -> bool:
    try:
        targets = json.loads(server.namespace.get("/api/v1/targets", PORT))["data"]["activeTargets"]
    except EdgeError:
        return False
    return [t["health"] for t in targets] == ["up"]
