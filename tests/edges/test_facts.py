"""The host put together: from a recorded engine, and from a real one whose inodes and cgroups can be checked."""

import os
import threading
from dataclasses import replace
from ipaddress import ip_network

import pytest

from deploy.demo.engine import private_engine
from enforcer.core.model import Attachment, Inode, Kind, ObjectId
from enforcer.edges.cgroup import Cgroups
from enforcer.edges.dockerd import Dockerd, DockerEvent, Volume
from enforcer.edges.inodes import Inodes
from enforcer.errors import ContainerGone, EdgeError
from enforcer.runtime.facts import Survey, _volume, collect
from tests.edges import world
from tests.edges.fake_docker import FakeDocker


def stat_of(path):
    """What stat says, in the kernel's numbering."""
    found = os.stat(path)
    return Inode(os.major(found.st_dev) << 20 | os.minor(found.st_dev), found.st_ino)


def named(facts, name):
    """The container of that name; KeyError if there is none."""
    return {c.name: c for c in facts.containers.values()}[name]


class NoCgroups:
    """A host on which every process has ended."""

    def of_pid(self, pid):
        """As if it had just gone."""
        raise ContainerGone(f"process {pid} ended")


@pytest.fixture
def fake(tmp_path):
    """An engine that answers as the recorded one did."""
    with FakeDocker(tmp_path).serving() as serving:
        yield serving


@pytest.fixture
def survey(fake):
    """A survey of it, with all processes gone."""
    dockerd = Dockerd(fake.url)
    yield Survey(dockerd, NoCgroups(), ())
    dockerd.close()


def test_a_full_look_asks_once_per_container_and_three_times_more(survey, fake):
    """The number of requests grows with the containers and with nothing else."""
    fake.asked.clear()
    facts = survey.full()
    assert len(facts.containers) == 5
    assert len(fake.asked) == 5 + 3


def test_another_policys_survey_goes_on_without_a_question(survey, fake, tmp_path):
    """It knows what the one before it knew, and looks at its own paths itself."""
    facts = survey.full()
    fake.asked.clear()
    other = Survey(survey._dockerd, NoCgroups(), (str(tmp_path),))
    going_on = other.going_on(survey)
    assert (going_on.containers, going_on.networks) == (facts.containers, facts.networks)
    assert going_on.objects.keys() - facts.objects.keys() == {ObjectId(Kind.PATH, str(tmp_path))}
    assert fake.asked == []


def test_a_container_that_joins_a_network_namespace_is_where_its_owner_is(survey):
    """--network container:X reaches what X reaches; the address stays X's own."""
    facts = survey.full()
    assert named(facts, "sidecar").attachments == (Attachment("mcp-internal"),)
    assert named(facts, "mcp-01-selector").attachments == (Attachment("mcp-internal", ("172.21.0.2",)),)


def test_a_pid_whose_process_ended_is_no_pid(survey):
    """The answer said that it runs; the process is gone, and another one may get its number."""
    assert {(c.pid, c.cgroup) for c in survey.full().containers.values()} == {(0, 0)}


def test_a_pid_that_went_to_a_stranger_is_no_pid(fake):
    """The cgroup of the process names the container, or the process is not the container's."""
    dockerd = Dockerd(fake.url)

    class Stranger(NoCgroups):
        def of_pid(self, pid):
            return "/system.slice/sshd.service"

    facts = Survey(dockerd, Stranger(), ()).full()
    dockerd.close()
    assert {(c.pid, c.cgroup) for c in facts.containers.values()} == {(0, 0)}


def test_a_network_given_by_id_has_its_name(survey, fake):
    """`docker create --network <id>` keeps the id until the start; rules speak of names."""
    database = next(n for n in fake.answers["/networks"][1] if n["Name"] == "database")
    answer = fake.answers["/containers/database/json"][1]
    answer["NetworkSettings"]["Networks"] = {database["Id"]: {}}
    assert named(survey.full(), "database").attachments == (Attachment("database"),)


def test_an_event_reads_again_only_what_it_concerns(survey, fake):
    """One container's event costs one request, so that it is prepared before its first process runs."""
    facts = survey.full()
    database = named(facts, "database")
    fake.asked.clear()
    answer = fake.answers["/containers/database/json"][1]
    answer["Name"] = "/db2"
    after = survey.after(DockerEvent("container", "rename", database.id, "db2", 1))
    assert fake.asked == [f"/containers/{database.id}/json"]
    assert named(after, "db2") == replace(database, name="db2")
    layers = {o.name for o in after.objects if o.kind is Kind.LAYER}
    assert "db2" in layers
    assert "database" not in layers


def test_a_destroyed_container_leaves_with_its_layer(survey, fake):
    """After `destroy` neither the container nor its layer is a fact."""
    facts = survey.full()
    database = named(facts, "database").id
    del fake.answers[f"/containers/{database}/json"]
    after = survey.after(DockerEvent("container", "destroy", database, "database", 1))
    assert database not in after.containers
    assert ObjectId(Kind.LAYER, "database") not in after.objects
    assert len(after.containers) == len(facts.containers) - 1


def test_a_container_joined_to_a_network_is_read_again(survey, fake):
    """`docker network connect` changes one container; its event says which."""
    facts = survey.full()
    database = named(facts, "database").id
    networks = fake.answers[f"/containers/{database}/json"][1]["NetworkSettings"]["Networks"]
    networks["public"] = {"IPAddress": "172.20.0.9"}
    listed = next(c for c in fake.answers["/containers/json"][1] if c["Id"] == database)
    listed["NetworkSettings"]["Networks"]["public"] = networks["public"]
    after = survey.after(DockerEvent("network", "connect", "x", "public", 1, container=database))
    assert Attachment("public", ("172.20.0.9",)) in named(after, "database").attachments


def test_a_created_container_that_joins_another_is_known_without_an_inspection(survey, fake):
    """The listing tells whose network namespace it joins, so it is held as that one from its first program on."""
    facts = survey.full()
    sidecar = named(facts, "sidecar")
    listed = next(c for c in fake.answers["/containers/json"][1] if c["Id"] == sidecar.id)
    fresh = "f" * 64
    fake.answers["/containers/json"][1].append({**listed, "Id": fresh, "Names": ["/newcomer"], "State": "created"})
    fake.asked.clear()
    after = survey.after(DockerEvent("container", "create", fresh, "newcomer", 1))
    assert named(after, "newcomer").attachments == (Attachment("mcp-internal"),)
    assert fake.asked == ["/containers/json"]


def test_what_only_an_inspection_tells_is_kept(survey, fake):
    """When a container that was looked at before starts again, its aliases and links are known although a listing has none."""
    place = fake.answers["/containers/database/json"][1]["NetworkSettings"]["Networks"]["database"]
    place["Aliases"], place["Links"] = ["db"], ["mcp-01-selector:boss"]
    database = named(survey.full(), "database")
    after = survey.after(DockerEvent("network", "connect", "x", "database", 1, container=database.id))
    [found] = named(after, "database").attachments
    assert (found.names, found.links) == (("db",), (("mcp-01-selector", "boss"),))


def test_a_created_container_is_known_without_an_inspection(survey, fake):
    """While an engine starts a container it answers no inspection of it: the listing has to do, and keeps what is known."""
    facts = survey.full()
    database = named(facts, "database")
    fake.asked.clear()
    del fake.answers[f"/containers/{database.id}/json"]
    after = survey.after(DockerEvent("container", "create", database.id, "database", 1))
    assert fake.asked == ["/containers/json"]
    assert named(after, "database") == database
    assert after.objects == facts.objects


def test_networks_and_volumes_come_and_go(survey, fake):
    """A created network and a destroyed volume show in the facts after their events."""
    survey.full()
    fake.answers["/networks"][1].append({"Id": "f" * 64, "Name": "new", "Driver": "bridge"})
    gone = fake.answers["/volumes"][1]["Volumes"].pop()["Name"]
    assert "new" in survey.after(DockerEvent("network", "create", "f" * 64, "new", 1)).networks
    after = survey.after(DockerEvent("volume", "destroy", gone, gone, 2))
    assert ObjectId(Kind.VOLUME, gone) not in after.objects
    assert "new" in after.networks


def test_an_engine_that_fails_is_no_empty_host(survey, fake):
    """A host without containers and an engine that cannot say are not the same."""
    fake.answers["/volumes"] = (500, {"message": "no"})
    with pytest.raises(EdgeError):
        survey.full()


def test_a_path_of_the_policy_is_an_object_if_it_is_there(fake, tmp_path):
    """What the policy names and the host lacks is no fact; links are followed."""
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    dockerd = Dockerd(fake.url)
    facts = collect(dockerd, NoCgroups(), [f"{tmp_path}/link", f"{tmp_path}/none"])
    dockerd.close()
    paths = {o.name: found.inodes for o, found in facts.objects.items() if o.kind is Kind.PATH}
    assert paths == {f"{tmp_path}/link": (stat_of(tmp_path / "there"),)}


# --- a real engine -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def live(engine):
    """The small world in a real engine, its facts, and the client that made it."""
    device = engine.directory / "device"
    device.mkdir()
    with_label = dict(engine.labels)
    client = engine.client()
    world.build(client, device=device, labels=with_label)
    dockerd = Dockerd(engine.url)
    yield client, dockerd, device
    dockerd.close()
    for container in client.containers.list(all=True, filters={"label": engine.label}):
        container.remove(force=True, v=True)
    for volume in client.volumes.list(filters={"label": engine.label}):
        volume.remove()
    for network in client.networks.list(filters={"label": engine.label}):
        network.remove()
    client.close()


@pytest.fixture
def facts(live, engine):
    """What the survey finds there, with the engine's own data root as a protected path."""
    return collect(live[1], Cgroups(), [str(engine.directory)])


def inside(client, name, *command):
    """What a command in the container prints."""
    status, output = client.containers.get(name).exec_run(list(command))
    assert status == 0, output
    return output.decode().strip()


def test_a_running_containers_cgroup_is_the_one_its_processes_are_in(facts, live):
    """Its id is the inode of the directory that holds its processes, in the kernel's own tree."""
    found = named(facts, "mcp-01-selector")
    cgroups = Cgroups()
    directory = cgroups.root / cgroups.of_pid(found.pid).lstrip("/")
    assert directory.name == found.id
    assert found.cgroup == directory.stat().st_ino
    assert str(found.pid) in (directory / "cgroup.procs").read_text().split()
    assert (named(facts, "database").pid, named(facts, "database").cgroup) == (0, 0)


def test_a_volume_is_found_by_the_inode_that_the_container_opens(facts, live):
    """What stat says inside the container is a key of the volume's object."""
    for purpose in ("data", "logs"):
        seen = int(inside(live[0], "mcp-01-selector", "stat", "-c", "%i", f"/app/{purpose}"))
        volume = facts.objects[ObjectId(Kind.VOLUME, f"mcp-01-selector-{purpose}")]
        assert seen in {i.inode for i in volume.inodes}
    bound = facts.objects[ObjectId(Kind.VOLUME, "mcp-01-selector-data")]
    assert bound.inodes == (stat_of(live[2]),)


def test_a_layer_is_found_by_the_root_that_the_container_sees(facts, live):
    """A running container's root, as its own processes see it, is a key of its layer; so is the directory on disk."""
    pid = named(facts, "mcp-01-selector").pid
    layer = facts.objects[ObjectId(Kind.LAYER, "mcp-01-selector")]
    assert stat_of(f"/proc/{pid}/root") in layer.inodes
    assert stat_of(layer.path) in layer.inodes
    stopped = facts.objects[ObjectId(Kind.LAYER, "database")]
    assert stopped.inodes == (stat_of(stopped.path),)


def test_a_protected_path_around_the_engine_leaves_containers_their_own_root(facts, live, engine):
    """The engine's data root holds every container's root as a mount: those stay layers and volumes."""
    path = facts.objects[ObjectId(Kind.PATH, str(engine.directory))]
    assert path.inodes[0] == stat_of(engine.directory)
    others = {i for o, found in facts.objects.items() if o.kind is not Kind.PATH for i in found.inodes}
    assert len(others) > len(facts.containers)
    assert not others & set(path.inodes)


def test_networks_of_a_real_engine(facts):
    """Both families, internal or not, and who is on them."""
    database = facts.networks["database"]
    assert database.internal
    assert database.subnets == (ip_network("172.22.0.0/16"), ip_network("fd00:22::/64"))
    assert named(facts, "database").attachments == (Attachment("database"),)
    assert [a.network for a in named(facts, "workstation").attachments] == ["mcp-internal", "public"]
    assert named(facts, "sidecar").attachments == (Attachment("mcp-internal"),)


def test_a_survey_that_follows_events_ends_where_a_full_look_does(live, engine):
    """Create, start, rename, connect, stop and remove, read event by event, leave what reading everything leaves."""
    client, dockerd, _ = live
    survey = Survey(dockerd, Cgroups(), [])
    survey.full()
    events = dockerd.events()
    container = world.sleeper(client, "late", labels=dict(engine.labels), network="database", volumes=["late-data:/d"])
    container.start()
    container.rename("later")
    client.networks.get("public").connect(container)
    seen = followed(survey, events, until=("network", "connect", "public"))
    assert seen == survey.full()
    assert named(seen, "later").pid > 0
    assert ObjectId(Kind.VOLUME, "late-data") in seen.objects
    container.remove(force=True)
    seen = followed(survey, events, until=("container", "destroy", "later"))
    client.volumes.get("late-data").remove()
    seen = followed(survey, events, until=("volume", "destroy", "late-data"))
    assert seen == survey.full()
    assert container.id not in seen.containers
    events.close()


def followed(survey, events, until):
    """The facts after each event in turn, up to the named one."""
    for event in events:
        facts = survey.after(event)
        if (event.kind, event.action, event.name) == until:
            return facts
    raise AssertionError("the stream ended")


def test_a_created_container_is_a_fact_before_it_starts(live, engine):
    """At Docker's create event the survey knows the container's name, labels and networks."""
    client, dockerd, _ = live
    survey = Survey(dockerd, Cgroups(), [])
    survey.full()
    events = dockerd.events()
    container = world.sleeper(client, "early", labels=dict(engine.labels), network="mcp-internal")
    facts = followed(survey, events, until=("container", "create", "early"))
    assert named(facts, "early").attachments == (Attachment("mcp-internal"),)
    assert named(facts, "early").labels == engine.labels
    events.close()
    container.remove()


def test_closing_ends_a_reader_that_waits_on_a_real_engine(live):
    """The agent's stop does not wait for Docker's next event."""
    events = live[1].events()
    reader = threading.Thread(target=lambda: list(events), daemon=True)
    reader.start()
    events.close()
    reader.join(timeout=30)
    assert not reader.is_alive()


def test_a_real_engine_that_ends_ends_the_stream_with_an_error():
    """A stopped engine is told from a quiet one, and connecting to it says what to do."""
    with private_engine() as engine:
        dockerd = Dockerd(engine.url)
        events = dockerd.events()
    with pytest.raises(EdgeError, match="event stream ended"):
        next(events)
    dockerd.close()
    with pytest.raises(EdgeError, match="start it, or name its socket"):
        Dockerd(engine.url)


def test_a_volume_lies_where_its_data_is(tmp_path):
    """A bind-backed volume is nested by its device directory, links resolved; another by its mountpoint."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for device, where in ((str(tmp_path / "link"), tmp_path / "real"), (None, tmp_path)):
        _, found = _volume(Volume("v", str(tmp_path), device), Inodes())
        assert found.path == os.path.realpath(where)
