"""The base image and the agents' image, made of Debian's static busybox: no registry is asked."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

from deploy.demo.engine import Engine
from deploy.demo.process import run
from enforcer.errors import EdgeError, HostError

USER = 1001
"""The guide's user and group of every agent ("Container Security Configuration")."""

BUSYBOX = Path("/bin/busybox")

DIRECTORIES = {
    "bin": (0, 0o755),
    "etc": (0, 0o755),
    "srv": (0, 0o755),
    "tmp": (0, 0o1777),
    "app": (USER, 0o755),
    "app/data": (USER, 0o750),
    "app/logs": (USER, 0o750),
    "app/config": (USER, 0o755),
}

FILES = {
    "etc/passwd": "root:x:0:0:root:/:/bin/sh\nmcp:x:1001:1001:mcp:/app:/bin/sh\n",
    "etc/group": "root:x:0:\nmcp:x:1001:\n",
    "srv/health": '{"status": "ok"}\n',
}

AGENT = f"""FROM {{base}}
USER {USER}:{USER}
WORKDIR /app
ENV NODE_ENV=production LOG_LEVEL=info
HEALTHCHECK --interval=30s --timeout=10s --retries=3 --start-period=40s \\
    CMD wget -q -O /dev/null http://127.0.0.1:$MCP_PORT/health
ENTRYPOINT ["sh", "-c", "exec httpd -f -p $MCP_PORT -h /srv"]
"""
"""As the guide's health check, with wget in the place of curl."""


@dataclass(frozen=True)
class Images:
    """The names of the two images in the engine."""

    base: str
    agent: str


def build_images(engine: Engine) -> Images:
    """Import the root tree as the base image, and build the agents' image on it."""
    images = Images(base=f"00-base-mcp:{engine.name}", agent=f"mcp-agent:{engine.name}")
    client = engine.client()
    try:
        label = f"LABEL {engine.label}"
        repository, _, tag = images.base.partition(":")
        client.api.import_image_from_data(base_tree(), repository=repository, tag=tag, changes=[label])
        dockerfile = io.BytesIO((AGENT.format(base=images.base) + label + "\n").encode())
        client.images.build(fileobj=dockerfile, tag=images.agent, rm=True)
    finally:
        client.close()
    return images


def base_tree() -> bytes:
    """A root tree as a tar: busybox, a link for each of its applets, and the guide's directories."""
    if not BUSYBOX.exists():
        raise HostError("busybox-static is not installed: run make install")
    if "dynamically linked" in _kind_of(BUSYBOX):
        raise HostError(f"{BUSYBOX} is not static: install busybox-static")
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, (owner, mode) in DIRECTORIES.items():
            tar.addfile(_entry(name, kind=tarfile.DIRTYPE, owner=owner, mode=mode))
        for name, text in FILES.items():
            _add_bytes(tar, name, text.encode(), mode=0o644)
        _add_bytes(tar, "bin/busybox", BUSYBOX.read_bytes(), mode=0o755)
        for applet in run(str(BUSYBOX), "--list").out.split():
            if applet != "busybox":
                tar.addfile(_entry(f"bin/{applet}", kind=tarfile.SYMTYPE, target="busybox"))
    return out.getvalue()


def _kind_of(program: Path) -> str:
    # an ELF file that needs a dynamic linker names it in its first page (PT_INTERP)
    head = program.read_bytes()[:4096]
    if not head.startswith(b"\x7fELF"):
        raise EdgeError(f"{program} is not a program: reinstall busybox-static")
    return "dynamically linked" if b"ld-linux" in head else "static"


def _entry(name: str, *, kind: bytes, owner: int = 0, mode: int = 0o777, target: str = "") -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.linkname = kind, mode, target
    entry.uid = entry.gid = owner
    return entry


def _add_bytes(tar: tarfile.TarFile, name: str, content: bytes, *, mode: int) -> None:
    entry = _entry(name, kind=tarfile.REGTYPE, mode=mode)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
