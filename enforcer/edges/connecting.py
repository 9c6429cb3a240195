"""Connecting a container to one of Docker's networks."""

from __future__ import annotations

import docker

from enforcer.edges.docker_errors import asking


def connect(api: docker.APIClient, *, network: str, container: str) -> None:
    """As ``docker network connect`` does. Raises EdgeError."""
    with asking(f"connecting {container} to {network}"):
        api.connect_container_to_network(container, network)
