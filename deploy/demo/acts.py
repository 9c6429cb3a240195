"""Commands run in containers of the world, as its people would run them."""

from __future__ import annotations

from dataclasses import dataclass

from deploy.demo.world import World, volume_at


@dataclass(frozen=True)
class Ran:
    """What a command in a container came to."""

    status: int
    output: str


def execute(world: World, container: str, command: tuple[str, ...]) -> Ran:
    """``docker exec``: run a command in a container of the world, as its user."""
    made = world.client.api.exec_create(container, list(command))
    output = world.client.api.exec_start(made["Id"])
    status = world.client.api.exec_inspect(made["Id"])["ExitCode"]
    return Ran(status=int(status), output=output.decode(errors="replace").strip())


def run_stranger(world: World, volume: str, command: tuple[str, ...]) -> Ran:
    """``docker run --rm``: a container that no rule names, born with somebody's volume at /stolen."""
    container = world.client.containers.create(
        world.images.base,
        list(command),
        name="stranger",
        network_mode="none",
        labels=world.engine.labels,
        mounts=[volume_at(volume, "/stolen")],
    )
    try:
        container.start()
        status = int(container.wait(timeout=30)["StatusCode"])
        return Ran(status=status, output=container.logs().decode(errors="replace").strip())
    finally:
        container.remove(force=True)
