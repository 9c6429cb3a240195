"""Docker's answers as facts, and Docker's failures as our errors."""

import threading

import docker
import pytest

from enforcer.core.model import Attachment, Container
from enforcer.edges.dockerd import Dockerd, DockerEvent
from enforcer.errors import ContainerGone, EdgeError
from tests.edges.fake_docker import FakeDocker, recorded


@pytest.fixture
def fake(tmp_path):
    """An engine that answers as the recorded one did."""
    with FakeDocker(tmp_path).serving() as serving:
        yield serving


@pytest.fixture
def dockerd(fake):
    """The edge, talking to it."""
    edge = Dockerd(fake.url)
    yield edge
    edge.close()


def by_name(containers):
    """Containers by their names."""
    return {c.name: c for c in containers}


def test_a_listing_is_one_request_and_has_all_but_pids(dockerd, fake):
    """Names, labels, networks and addresses of every container come by one request, however many there are."""
    fake.asked.clear()
    found = by_name(dockerd.containers())
    assert fake.asked == ["/containers/json"]
    assert set(found) == {"mcp-01-selector", "workstation", "database", "sidecar", "hostly"}
    selector = found["mcp-01-selector"]
    assert selector == Container(
        id=selector.id,
        name="mcp-01-selector",
        image="edges/base:1",
        labels={"mcp.id": "01", "com.docker.compose.service": "selector"},
        attachments=(Attachment("mcp-internal", ("172.21.0.2",)),),
    )
    assert len(selector.id) == 64


def test_stopped_containers_are_listed(dockerd, fake):
    """A container that does not run is prepared too: the listing asks for all of them."""
    fake.queries.clear()
    dockerd.containers()
    assert fake.queries[0]["all"] == ["1"]


def test_the_primary_name_wins_over_a_links_alias(dockerd, fake):
    """A legacy link gives a container further names, `/web/db`; its own has one slash."""
    fake.answers["/containers/json"][1][0]["Names"] = ["/web/alias", "/own", "/app/alias"]
    assert dockerd.containers()[0].name == "own"


def test_a_container_being_removed_is_not_listed(dockerd, fake):
    """Docker lists a container for a moment without any name while it removes it."""
    fake.answers["/containers/json"][1][0]["Names"] = None
    assert len(dockerd.containers()) == 4


def test_a_running_container_has_its_pid_and_both_addresses(dockerd, fake):
    """An inspected container has the pid of its first process and its addresses of both families."""
    answer = fake.answers["/containers/workstation/json"][1]
    answer["NetworkSettings"]["Networks"]["public"]["GlobalIPv6Address"] = "2001:db8::5"
    found = dockerd.container("workstation")
    assert found.pid == answer["State"]["Pid"] > 0
    assert found.attachments == (
        Attachment("mcp-internal", ("172.21.0.3",)),
        Attachment("public", ("172.20.0.2", "2001:db8::5")),
    )


def test_a_created_container_has_networks_and_neither_pid_nor_address(dockerd):
    """What Docker has created and not started is known by name and networks: enough to prepare it."""
    found = dockerd.container("database")
    assert (found.pid, found.attachments) == (0, (Attachment("database"),))


@pytest.mark.parametrize(("mode", "network"), [("default", "bridge"), ("database", "database")])
def test_a_created_container_without_endpoints_is_where_its_mode_says(dockerd, fake, mode, network):
    """Where the engine has filled in no endpoint yet, the network mode names the network."""
    answer = fake.answers["/containers/database/json"][1]
    answer["NetworkSettings"]["Networks"], answer["HostConfig"]["NetworkMode"] = {}, mode
    assert dockerd.container("database").attachments == (Attachment(network),)


def test_a_stopped_containers_stale_pid_is_not_believed(dockerd, fake):
    """A pid that stayed in the answer of a container that does not run may belong to another process by now."""
    fake.answers["/containers/workstation/json"][1]["State"]["Running"] = False
    assert dockerd.container("workstation").pid == 0


def test_a_joined_network_namespace_is_told(dockerd):
    """A container started with --network container:X says whose network namespace it is in."""
    owner = dockerd.container("mcp-01-selector").id
    assert dockerd.detail("sidecar").joins == owner
    assert dockerd.detail("sidecar").container.attachments == ()
    assert dockerd.detail("mcp-01-selector").joins == ""


def test_a_listing_tells_it_too(dockerd):
    """An engine that is just starting a container answers no inspection of it, but lists it."""
    joins = {detail.container.name: detail.joins for detail in dockerd.listing()}
    assert joins["sidecar"] == dockerd.container("mcp-01-selector").id
    assert {name for name, joined in joins.items() if joined} == {"sidecar"}


@pytest.mark.parametrize("links", [["database:db", "web"], ["web", "database:db"]])
def test_links_are_who_they_lead_to_and_what_they_are_called(dockerd, fake, links):
    """Without an alias a link is called by the other's name."""
    answer = fake.answers["/containers/database/json"][1]
    answer["NetworkSettings"]["Networks"]["database"]["Links"] = links
    [place] = dockerd.container("database").attachments
    assert place.links == (("database", "db"), ("web", "web"))


def test_the_layer_is_the_overlays_upper_directory(dockerd):
    """The writable layer of a container is the upper directory of its overlay."""
    detail = dockerd.detail("database")
    data = recorded("container-database")["GraphDriver"]["Data"]
    assert (detail.upper, detail.merged) == (data["UpperDir"], data["MergedDir"])


def test_an_engine_that_tells_no_layer_leaves_it_empty(dockerd, fake):
    """With the containerd image store the answer has no GraphDriver data."""
    fake.answers["/containers/database/json"][1]["GraphDriver"] = {"Name": "overlayfs", "Data": None}
    assert dockerd.detail("database").upper == ""


def test_the_image_is_the_name_it_was_started_by(dockerd, fake):
    """The tag may have moved since: an inspected container keeps the image name that its operator gave."""
    fake.answers["/containers/json"][1][0]["Image"] = "sha256:0"
    assert dockerd.container(recorded("containers")[0]["Id"]).image == "edges/base:1"


def test_networks(dockerd):
    """Each network with its subnets of both families, whether it is internal, and the host's interface on it."""
    found = {n.name: (n, bridge) for n, bridge in dockerd.bridged()}
    database, bridge = found["database"]
    assert [str(s) for s in database.subnets] == ["172.22.0.0/16", "fd00:22::/64"]
    assert database.internal
    assert not found["public"][0].internal
    assert bridge == f"br-{database.id[:12]}"
    assert found["bridge"][1] == "docker0"
    assert (found["host"][1], found["none"][1]) == ("", "")
    assert dockerd.networks() == tuple(n for n, _ in dockerd.bridged())


def test_a_gateway_loses_its_prefix_length(dockerd, fake):
    """Docker writes IPv6 gateways with or without a prefix length."""
    fake.answers["/networks"][1][0]["IPAM"]["Config"] = [{"Subnet": "fd00::/64", "Gateway": "fd00::1/64"}]
    assert dockerd.networks()[0].gateways == ("fd00::1",)


def test_volumes(dockerd):
    """A volume has its mountpoint; a local one with o=bind also the directory that it shows."""
    found = {v.name: v for v in dockerd.volumes()}
    assert found["mcp-01-selector-data"].device == "/srv/mcp/01"
    assert found["mcp-01-selector-logs"].device is None
    assert found["mcp-01-selector-logs"].mountpoint == "/var/lib/docker/volumes/mcp-01-selector-logs/_data"


def test_a_host_without_volumes(dockerd, fake):
    """The engine says null for no volumes."""
    fake.answers["/volumes"] = (200, {"Volumes": None, "Warnings": None})
    assert dockerd.volumes() == ()


def test_a_device_that_is_no_bind_is_no_directory_of_the_volume(dockerd, fake):
    """A tmpfs or nfs volume has a device option too, but shows no directory of the host."""
    for volume in fake.answers["/volumes"][1]["Volumes"]:
        volume["Options"] = {"type": "nfs", "o": "addr=x,rw", "device": ":/x"}
    assert [v.device for v in dockerd.volumes()] == [None, None]


def test_the_engine_tells_its_cgroup_driver(dockerd):
    """What the enforcer reports of the engine."""
    found = dockerd.engine()
    assert (found.cgroup_driver, found.storage_driver, found.root) == ("cgroupfs", "overlay2", "/var/lib/docker")
    assert found.version.startswith("20.10")


def test_an_unknown_container_is_gone(dockerd):
    """Docker's 404 for a container is ContainerGone, so that reconcile can forget it."""
    with pytest.raises(ContainerGone, match="inspecting container nobody"):
        dockerd.container("nobody")


def test_a_failing_engine_is_an_edge_error_of_one_line(dockerd, fake):
    """What the engine says about its failure reaches the operator, in one line."""
    fake.answers["/containers/json"] = (500, {"message": "driver failed:\n  no space left"})
    with pytest.raises(EdgeError, match=r"^docker: the list of containers: driver failed: no space left$"):
        dockerd.containers()


@pytest.mark.parametrize("body", [b"{", b"<html>"])
def test_an_answer_that_is_no_json_is_an_edge_error(dockerd, fake, body):
    """Half an answer is never guessed at."""
    fake.answers["/volumes"] = (200, body)
    with pytest.raises(EdgeError):
        dockerd.volumes()


def test_no_engine_is_an_edge_error_that_names_the_socket(tmp_path):
    """Where nothing listens the operator learns which socket was tried."""
    with pytest.raises(EdgeError, match=f"{tmp_path}/none.sock"):
        Dockerd(f"unix://{tmp_path}/none.sock")


def test_an_engine_that_hangs_is_an_edge_error(fake):
    """Every question has a time limit of its own; this client's is short."""
    api = docker.APIClient(base_url=fake.url, version="auto", timeout=1)
    hung = threading.Event()
    answers = fake.answers

    class Hanging(dict):
        def get(self, *_):
            hung.wait()
            return (200, [])

    fake.answers = Hanging(answers)
    try:
        with pytest.raises(EdgeError, match="timed out"):
            Dockerd(api).containers()
    finally:
        hung.set()
        api.close()


def test_events_ask_only_for_what_changes_a_fact(dockerd, fake):
    """The engine filters: no health check and no exec wakes the enforcer. `since` keeps its nanoseconds."""
    fake.stay_open.set()
    dockerd.events(since=1_700_000_000_000_000_042).close()
    query = fake.queries[-1]
    assert query["since"] == ["1700000000.000000042"]
    assert '"exec' not in query["filters"][0]
    assert all(f'"{word}"' in query["filters"][0] for word in ("container", "rename", "connect", "unmount", "die"))


def test_events_have_the_facts_of_the_recorded_ones(dockerd, fake):
    """A container's creation, a network's joining and a volume's mounting, as the engine told them."""
    events = dockerd.events()
    found = [next(events) for _ in fake.events]
    events.close()
    created = next(e for e in found if (e.kind, e.action, e.name) == ("container", "create", "mcp-01-selector"))
    joined = next(e for e in found if (e.kind, e.action) == ("network", "connect"))
    mounted = next(e for e in found if (e.kind, e.action) == ("volume", "mount"))
    assert (joined.name, joined.container) == ("mcp-internal", created.id)
    assert mounted == DockerEvent(
        "volume", "mount", "mcp-01-selector-data", "mcp-01-selector-data", mounted.time_ns, created.id
    )
    renamed = next(e for e in found if e.action == "rename")
    assert (renamed.name, renamed.container) == ("gateway", "")
    assert created.time_ns < joined.time_ns < renamed.time_ns


def test_an_engine_that_goes_away_ends_the_stream_with_an_error(dockerd, fake):
    """A dead engine is not the end of the news: the reader must reconnect."""
    fake.stay_open.set()
    events = dockerd.events()
    for _ in fake.events:
        next(events)
    with pytest.raises(EdgeError, match="event stream ended"):
        next(events)


def test_half_an_event_is_an_error(dockerd, fake):
    """An engine that dies in the middle of an event."""
    fake.events = [b'{"Type": "contai']
    fake.stay_open.set()
    with pytest.raises(EdgeError):
        next(dockerd.events())


def test_closing_from_another_thread_ends_a_waiting_reader(dockerd, fake):
    """A stopping agent does not wait for the next event, and its own closing is no error."""
    fake.events = []
    events = dockerd.events()
    ended = threading.Event()

    def read():
        if list(events) == []:
            ended.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    events.close()
    reader.join(timeout=30)
    assert ended.is_set()
