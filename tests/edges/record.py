"""Record the engine's answers anew: ``python -m tests.edges.record``, as root. The engine has no way out."""

from __future__ import annotations

import json
import platform
import time
from pathlib import Path

import docker

from deploy.demo.engine import private_engine
from tests.edges import world

RECORDED = Path(__file__).parent / "recorded"


def record(api: docker.APIClient, *, name: str, path: str, places: dict[str, str]) -> None:
    """Ask for ``path`` and keep the answer, with the names of the host that it was recorded on replaced."""
    text = api.get(f"{api.base_url}/v{api.api_version}{path}").text
    for place, usual in places.items():
        text = text.replace(place, usual)
    answers = [json.loads(line) for line in text.splitlines()] if name == "events" else json.loads(text)
    (RECORDED / f"{name}.json").write_text(json.dumps(answers, indent=1, sort_keys=True) + "\n")


def main() -> None:
    """Start an engine, build the world, keep its answers, remove all."""
    RECORDED.mkdir(exist_ok=True)
    with private_engine() as engine:
        client, started = engine.client(), int(time.time()) - 1
        device = engine.directory / "device"
        device.mkdir()
        world.build(client, device=device, labels={})
        places = {str(device): "/srv/mcp/01", f"{engine.directory}/docker": "/var/lib/docker"}
        places |= {str(engine.directory): "/run/docker", engine.name: "docker"}
        places |= {f'"{platform.node()}"': '"docker-host"', platform.release(): "6.1.0"}
        asked = {"info": "/info", "version": "/version", "networks": "/networks", "volumes": "/volumes"}
        asked |= {"containers": "/containers/json?all=1", "gone": "/containers/gone/json"}
        asked |= {f"container-{c.name}": f"/containers/{c.id}/json" for c in client.containers.list(all=True)}
        client.images.get(world.IMAGE).tag("edges/other", "1")
        for name, path in asked.items():
            record(client.api, name=name, path=path, places=places)
        client.containers.get("workstation").rename("gateway")
        client.networks.get("public").disconnect("gateway")
        for container in client.containers.list(all=True):
            container.remove(force=True)
        for volume in client.volumes.list():
            volume.remove()
        until = int(time.time()) + 1
        record(client.api, name="events", path=f"/events?since={started}&until={until}", places=places)
        client.close()


if __name__ == "__main__":
    main()
