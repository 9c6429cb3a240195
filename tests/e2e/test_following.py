"""Containers and networks come, change and go under a running agent: names and decisions follow."""

from __future__ import annotations

from docker.models.containers import Container

from deploy.demo.acts import Ran
from tests.e2e.agent import DATA, EXTERNAL, INSIDE, Agent, sample
from tests.e2e.conftest import Containers
from tests.e2e.world import CONTENT, INTERNAL, NETWORK, World, mounted

REFUSED = "Operation not permitted"
OUTSIDE = "203.0.113.10"  # no route leads there: an attempt that is not refused is unreachable


def reach(container: Container, address: str) -> Ran:
    """One connection from within a container; status 0 if somebody answers."""
    return Containers.execute(container, "sh", "-c", f"nc -w 5 {address} 8080 < /dev/null")


def address_of(container: Container, network: str) -> str:
    """Its address on a network."""
    container.reload()
    found: str = container.attrs["NetworkSettings"]["Networks"][network]["IPAddress"]
    return found


def server(containers: Containers, name: str, network: str) -> Container:
    """A container that answers on port 8080."""
    return containers.start("httpd", "-f", "-p", "8080", "-h", "/srv", name=name, network=network)


def test_renamed_container_has_the_rights_of_its_new_name(agent: Agent, containers: Containers) -> None:
    """`docker rename` takes the old name's rights and gives the new one's; what is counted from then on bears the new name."""
    verdict, _ = agent.stopped
    container = containers.start(name="worker-1", volumes=mounted("worker-1-data", "worker-2-data"))

    def may(number: int) -> bool:
        return containers.execute(container, "cat", f"/worker-{number}-data/f") == Ran(0, CONTENT)

    agent.await_that("its own data to be open", lambda: may(1))
    assert not may(2)
    container.rename("worker-2")
    agent.await_that("the new name's data to be open", lambda: may(2))
    before = agent.mark()
    assert not may(1)
    labels = {"container": "worker-2", "object": "worker-1-data", "access": "read", "action": verdict}
    assert agent.rise(before) == {sample(DATA, **labels): 1}
    [event] = agent.await_events(before, 1)
    assert (event.who.name, event.who.id) == ("worker-2", container.id)


def test_removed_container_keeps_what_was_counted(agent: Agent, containers: Containers) -> None:
    """After `docker rm` the agent forgets the container, not its violations; one of the same name made anew adds to them."""
    verdict, _ = agent.stopped
    labels = {"container": "passer-by", "object": "beta-data", "access": "read", "action": verdict}
    before = agent.mark()
    for number in (1, 2):
        container = containers.start(name="passer-by", volumes=mounted("beta-data"))
        agent.await_container("passer-by")
        containers.execute(container, "cat", "/beta-data/f")
        container.remove(force=True)
        agent.await_container("passer-by", known=False)
        assert agent.rise(before) == {sample(DATA, **labels): number}


def test_gauge_of_containers_follows(agent: Agent, containers: Containers) -> None:
    """The numbers of running and stopped containers are those of Docker."""

    def gauge() -> tuple[float, ...]:
        found = agent.metrics()
        return tuple(found.get(sample("enforcer_containers", state=state), 0) for state in ("running", "stopped"))

    running, stopped = gauge()
    container = containers.start(name="counted")
    agent.await_that("it to run", lambda: gauge() == (running + 1, stopped))
    container.kill()
    agent.await_that("it to be stopped", lambda: gauge() == (running, stopped + 1))
    container.remove()
    agent.await_that("it to be gone", lambda: gauge() == (running, stopped))


def test_volume_made_while_it_runs_is_protected(agent: Agent, containers: Containers, world: World) -> None:
    """A volume that matches is protected from the moment on that Docker tells of it, and no more when it is removed."""
    owner = containers.run("sh", "-c", "echo x > /own/f", name="worker-7", volumes=["worker-7-data:/own"])
    assert owner.status == 0
    thief = containers.start(name="thief", volumes=["worker-7-data:/stolen"])
    before = agent.mark()
    assert containers.execute(thief, "cat", "/stolen/f").status != 0
    assert [dict(labels)["object"] for _, labels in agent.rise(before)] == ["worker-7-data"]
    containers.remove_all()
    world.client.volumes.get("worker-7-data").remove()
    agent.await_that("the volume to be forgotten", lambda: "worker-7-data" not in str(agent.matrix()))


def test_network_grant_follows_who_is_on_the_network(agent: Agent, containers: Containers, world: World) -> None:
    """`{network: N}` grants whoever is on N now: a container that joins is reached, one that has left is not."""
    cell = world.client.networks.get(INTERNAL)
    worker = containers.start(name="worker-1", network=INTERNAL)
    guest = server(containers, "guest", NETWORK)
    cell.connect(guest)
    address = address_of(guest, INTERNAL)
    agent.await_that("the guest to be reached", lambda: reach(worker, address).status == 0)
    before = agent.mark()
    assert reach(worker, address).status == 0
    assert agent.rise(before) == {}
    cell.disconnect(guest)
    agent.await_that("the guest's old address to be refused", lambda: REFUSED in reach(worker, address).output)
    before = agent.mark()
    assert REFUSED in reach(worker, address).output
    assert agent.rise(before) == {sample(INSIDE, container="worker-1", destination=INTERNAL, action="denied"): 1}


def test_joining_a_network_grants_nothing_on_it(agent: Agent, containers: Containers, world: World) -> None:
    """A container that is put on another network may not reach its members unless a rule says so, and it is told who was tried."""
    ground = world.client.networks.get(NETWORK)
    worker = containers.start(name="worker-1", network=INTERNAL)
    neighbour = server(containers, "neighbour", NETWORK)
    ground.connect(worker)
    address = address_of(neighbour, NETWORK)
    agent.await_that("the agent to know", lambda: NETWORK in agent.networks_of("worker-1"))
    before = agent.mark()
    assert REFUSED in reach(worker, address).output
    assert agent.rise(before) == {sample(INSIDE, container="worker-1", destination="neighbour", action="denied"): 1}
    [event] = agent.await_events(before, 1)
    assert (event.attempt.address, event.attempt.peer, event.attempt.external) == (address, "neighbour", False)


def test_confinement_follows_the_networks(agent: Agent, containers: Containers, world: World) -> None:
    """On internal networks only, a container that no rule names may not leave them; with another network beside it may."""
    ground = world.client.networks.get(NETWORK)
    inmate = containers.start(name="inmate", network=INTERNAL)
    agent.await_that("the agent to know", lambda: INTERNAL in agent.networks_of("inmate"))
    before = agent.mark()
    assert REFUSED in reach(inmate, OUTSIDE).output
    assert agent.rise(before) == {sample(EXTERNAL, network=INTERNAL, container="inmate", action="denied"): 1}
    ground.connect(inmate)
    agent.await_that("it to be free", lambda: REFUSED not in reach(inmate, OUTSIDE).output)
    ground.disconnect(inmate)
    agent.await_that("it to be confined again", lambda: REFUSED in reach(inmate, OUTSIDE).output)
