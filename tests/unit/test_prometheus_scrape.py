"""What the shipped configuration makes Prometheus scrape: the agent, and the containers that Docker tells of."""

from __future__ import annotations

import json
import re
import socketserver
import subprocess
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from enforcer import settings
from tests.unit.promql import exported

SHIPPED = Path(__file__).parents[2] / "deploy" / "prometheus" / "prometheus.yml"
JOBS = {job["job_name"]: job for job in yaml.safe_load(SHIPPED.read_text())["scrape_configs"]}

GUIDE = """
relabel_configs:
  - source_labels: [__address__]
    target_label: instance
  - source_labels: [__meta_docker_container_label_mcp_id]
    target_label: mcp_id
"""
"""The guide's "Prometheus Metrics"."""

NETWORKS = ("mcp-internal", "world_mcp-internal", "public", "not-mcp-internal")


def container(name, *networks, port=8081, **labels):
    """One line of Docker's GET /containers/json, as far as it is read."""
    ids = {network: {"NetworkID": network, "IPAddress": f"172.21.{n}.9"} for n, network in enumerate(networks)}
    published = ("127.0.0.1", "::1") if port else ()
    ports = [{"IP": ip, "PrivatePort": port, "PublicPort": port, "Type": "tcp"} for ip in published]
    return {
        "Id": f"id-{name}",
        "Names": [f"/{name}"],
        "Labels": labels,
        "Ports": ports,
        "HostConfig": {"NetworkMode": networks[0]},
        "NetworkSettings": {"Networks": ids},
    }


LABEL = {"mcp.id": "01-selector"}
RUNNING = [
    container("mcp-01-selector", "mcp-internal", **LABEL),
    container("workstation", "public", "mcp-internal", port=3000, **{"mcp.id": "gateway"}),
    container("composed", "world_mcp-internal", port=8090, **{"mcp.id": "composed"}),
    container("elsewhere", "not-mcp-internal", **{"mcp.id": "elsewhere"}),
    container("silent", "mcp-internal", port=0, **{"mcp.id": "silent"}),
]


class Engine(BaseHTTPRequestHandler):
    """Answers what Prometheus asks of Docker."""

    asked: list[str] = []  # noqa: RUF012 -- the class is made anew for each test
    running = RUNNING

    def do_GET(self):
        """The containers and the networks."""
        self.asked.append(self.path)
        path = urlsplit(self.path).path
        if path.endswith("/containers/json"):
            self.answer(self.running)
        elif path.endswith("/networks"):
            self.answer([{"Id": n, "Name": n, "Scope": "local", "Internal": True, "Labels": {}} for n in NETWORKS])
        else:
            self.answer("OK")

    def do_HEAD(self):
        """Whether there is an engine at all."""
        self.answer("")

    def answer(self, content):
        """As JSON."""
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Api-Version", "1.41")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def address_string(self):
        """A unix socket has no address to log."""
        return "unix"

    def log_message(self, *_words):
        """Nothing on the terminal."""


def configured(directory, interval="15s"):
    """The shipped configuration in a directory, with the containers' job asking an engine there."""
    config = yaml.safe_load(SHIPPED.read_text())
    [job] = [job for job in config["scrape_configs"] if job["job_name"] == "mcp-containers"]
    job["docker_sd_configs"][0]["host"] = f"unix://{directory / 'docker.sock'}"
    config["scrape_configs"] = [job]
    config["global"] = {"scrape_interval": interval}
    del config["rule_files"]
    (directory / "prometheus.yml").write_text(yaml.safe_dump(config))


@contextmanager
def engine_with(directory, running):
    """An engine that tells of these containers; what it was asked."""
    engine = type("Engine", (Engine,), {"asked": [], "running": running})
    with socketserver.ThreadingUnixStreamServer(str(directory / "docker.sock"), engine) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield engine.asked
        server.shutdown()


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What `promtool check service-discovery` finds for the containers' job with an engine of ours, and what that was asked."""
    directory = tmp_path_factory.mktemp("discovery")
    configured(directory)
    with engine_with(directory, RUNNING) as asked:
        argv = ["promtool", "check", "service-discovery", "--timeout=3s", "prometheus.yml", "mcp-containers"]
        done = subprocess.run(argv, cwd=directory, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return [target["labels"] for target in json.loads(done.stdout) if target.get("labels")], asked


def test_each_container_is_one_target_with_the_guides_labels(found):
    """One with two networks and one that publishes its port on two families too; none where nobody says that something listens."""
    targets, _ = found
    distinct = {(t["mcp_id"], t["instance"], t["__address__"]) for t in targets}
    assert distinct == {
        ("01-selector", "172.21.0.9:8081", "172.21.0.9:8081"),
        ("gateway", "172.21.1.9:3000", "172.21.1.9:3000"),
        ("composed", "172.21.0.9:8090", "172.21.0.9:8090"),
    }
    assert {tuple(sorted((k, v) for k, v in t.items() if not k.startswith("__"))) for t in targets} == {
        (("instance", instance), ("job", "mcp-containers"), ("mcp_id", mcp_id)) for mcp_id, instance, _ in distinct
    }


def test_docker_is_asked_for_nothing_but_labelled_containers_and_networks(found):
    """So that a proxy before its socket can refuse all else."""
    _, asked = found
    paths = {urlsplit(path).path.rpartition("/v1.")[2].partition("/")[2] for path in asked if "/_ping" not in path}
    assert paths == {"containers/json", "networks"}
    [filters] = {parse_qs(urlsplit(path).query)["filters"][0] for path in asked if "containers/json" in path}
    assert json.loads(filters) == {"label": {"mcp.id": True}}


def test_the_guides_relabelling_is_shipped_word_for_word():
    """Its two rules first, then ours, which only leave targets out."""
    rules = JOBS["mcp-containers"]["relabel_configs"]
    guides = yaml.safe_load(GUIDE)["relabel_configs"]
    assert rules[: len(guides)] == guides
    assert {rule["action"] for rule in rules[len(guides) :]} == {"keep"}


def test_no_container_speaks_for_the_enforcer():
    """A compromised one could make false alarms: whatever the agent exports or the rules record is taken from the agent alone."""
    job = JOBS["mcp-containers"]
    [rule] = job["metric_relabel_configs"]
    assert (rule["action"], rule["source_labels"]) == ("drop", ["__name__"])
    rules = yaml.safe_load(SHIPPED.with_name("rules.yml").read_text())["groups"]
    recorded = {rule["record"] for group in rules for rule in group["rules"] if "record" in rule}
    ours = (exported().keys() - {"up"}) | recorded | {"ALERTS"}
    assert {name for name in ours if not re.fullmatch(rule["regex"], name)} == set()
    own = {"mcp_requests_total", "http_requests_total", "process_cpu_seconds_total"}
    assert {name for name in own if re.fullmatch(rule["regex"], name)} == set()
    assert not job.get("honor_labels")


class Compromised(BaseHTTPRequestHandler):
    """A container's metrics: one of its own, one that would be the enforcer's, and labels that are Prometheus's."""

    TEXT = b"""mine_total{job="enforcer",instance="forged",mcp_id="another"} 1
mcp_data_access_violations_total{container="innocent",object="x",access="read",action="denied"} 1
enforcer_selftest_success 0
"""

    def do_GET(self):
        """Whatever is asked."""
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(self.TEXT)

    def log_message(self, *_words):
        """Nothing on the terminal."""


def scraped(directory, port):
    """Every series of the containers' job in a real Prometheus, once it has scraped; none after half a minute."""
    configured(directory, interval="1s")
    options = ("--config.file=prometheus.yml", f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.path=data")
    log = (directory / "prometheus.log").open("w")
    with log, subprocess.Popen(["prometheus", *options], cwd=directory, stdout=log, stderr=log) as server:
        try:
            end = time.monotonic() + 30
            while time.monotonic() < end and server.poll() is None:
                with suppress(urllib.error.URLError):
                    address = f"http://127.0.0.1:{port}/api/v1/series?match[]={{job=~'.%2B'}}"
                    with urllib.request.urlopen(address, timeout=5) as answer:
                        series = json.load(answer)["data"]
                    if series:
                        return series
                time.sleep(0.1)
        finally:
            server.terminate()
    return []


def test_a_real_prometheus_takes_only_what_is_the_containers_own(tmp_path):
    """Found through Docker's answers, scraped, and put under the labels that Docker told, whatever the container writes."""
    with HTTPServer(("127.0.0.1", 0), Compromised) as target, HTTPServer(("127.0.0.1", 0), Compromised) as spare:
        port = spare.server_port
        spare.server_close()
        threading.Thread(target=target.serve_forever, daemon=True).start()
        told = container("mcp-01-selector", "mcp-internal", port=target.server_port, **LABEL)
        told["NetworkSettings"]["Networks"]["mcp-internal"]["IPAddress"] = "127.0.0.1"
        with engine_with(tmp_path, [told]):
            series = scraped(tmp_path, port)
        target.shutdown()
    labels = {"job": "mcp-containers", "instance": f"127.0.0.1:{target.server_port}", "mcp_id": "01-selector"}
    [mine] = [s for s in series if s["__name__"] == "mine_total"]
    assert mine.items() >= labels.items()
    assert not {s["__name__"] for s in series} & exported().keys() - {"up"}
    assert all(s.items() >= labels.items() for s in series)


def test_no_container_sends_prometheus_elsewhere_or_fills_it():
    """A redirect would make it ask what it can reach and the container cannot; what is too much is refused whole."""
    job = JOBS["mcp-containers"]
    assert job["follow_redirects"] is False
    assert all(job[limit] for limit in ("sample_limit", "label_limit", "body_size_limit"))


def test_the_agent_is_scraped_where_it_listens():
    """Its own default address, by the job that the alerts name."""
    assert JOBS["enforcer"]["static_configs"] == [{"targets": [settings.Settings().listen]}]
