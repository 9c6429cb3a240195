"""The last lines that a container has written, as ``docker logs --tail`` gives them: both of its streams, in their order."""

from __future__ import annotations

import docker

from enforcer.edges.docker_errors import asking


def last_lines(api: docker.APIClient, container: str, number: int) -> bytes:
    """At most ``number`` lines. Raises EdgeError, also where its log driver lets nobody read."""
    with asking(f"the log of container {container}"):
        return api.logs(container, stdout=True, stderr=True, tail=number)
