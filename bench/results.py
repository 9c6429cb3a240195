"""The results of a run: one file for a kernel and a mechanism.

Each bench in it says when it ran, of which commit, and how busy the machine was. A run of some benches leaves what the others
have found.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import psutil

from bench.figure import Figure, Table
from enforcer.errors import EnforcerError

RESULTS = Path(__file__).parent / "results"
REPO = Path(__file__).parents[1]


def machine() -> dict[str, object]:
    """What it was measured on."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "hypervisor": "hypervisor" in _cpu_info("flags").split(),
        "kernel": platform.release(),
    }


def _cpu_model() -> str:
    return _cpu_info("model name") or platform.processor() or platform.machine()


def _cpu_info(name: str) -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def commit() -> str:
    """What was measured; ``+`` after it: with changes that are in no commit."""
    git = ("git", "-c", f"safe.directory={REPO}", "-C", str(REPO))
    head = _said(*git, "rev-parse", "--short=12", "HEAD")
    return f"{head}+" if _said(*git, "status", "--porcelain", "--untracked-files=no") else head


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603 -- our own command


def section(found: Table | EnforcerError, load: tuple[float, float], seconds: float) -> dict[str, object]:
    """What is kept of one bench. ``load``: the machine's load average (1 minute) before and after."""
    kept: dict[str, object] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "load_average": {"before": round(load[0], 2), "after": round(load[1], 2)},
        "seconds": round(seconds),
    }
    if isinstance(found, EnforcerError):
        return kept | {"missing": str(found)}
    return kept | {"figures": [figure.as_json() for figure in found.figures], "notes": list(found.notes)}


def write(mechanism: str, sections: dict[str, dict[str, object]], directory: Path = RESULTS) -> Path:
    """Put the sections in the file of this kernel and ``mechanism``; it is there whole or as it was."""
    directory.mkdir(exist_ok=True)
    path = directory / f"{platform.release()}-{mechanism}.json"
    before = json.loads(path.read_text())["benches"] if path.exists() else {}
    whole = {"machine": machine(), "mechanism": mechanism, "benches": before | sections}
    with tempfile.NamedTemporaryFile("w", dir=directory, suffix=".partial", delete=False) as file:
        json.dump(whole, file, indent=1, ensure_ascii=False)
        file.write("\n")
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)
    return path


def account(figures: Iterable[Figure]) -> list[tuple[str, ...]]:
    """The rows of the last table: figure, best, median, must, aim, met, peers."""
    return [
        (
            *(figure.name, figure.unit, shown(figure.minimum), shown(figure.median)),
            *(shown(figure.must), shown(figure.aim), _met(figure)),
            ", ".join(f"{name} {ratio:.3g}" for name, ratio in figure.peers.items()),
        )
        for figure in figures
    ]


HEADS = ("figure", "unit", "best", "median", "must", "aim", "met", "beside it, times ours")


def shown(number: float | None) -> str:
    """With as many digits as are worth reading."""
    if number is None:
        return ""
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def _met(figure: Figure) -> str:
    must, aim = figure.met(figure.must), figure.met(figure.aim)
    if must is None and aim is None:
        return "" if figure.told else "?"
    return "no" if must is False else "aim" if aim else "must"
