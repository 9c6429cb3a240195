"""How a container is made, as a Compose file has it: limits, health, log, labels, networks and ports."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from enforcer.core.compose import HEALTH, LABELS, LOG_DRIVER, LOG_OPTIONS, PIDS, RESTART, SIZES, takes_every_answer
from enforcer.core.compose_file import pairs_of, ports_of, texts_of
from enforcer.posture.compose_case import Missing, ServiceCase, external, fails, warns

_LIMITS = "deploy", "resources", "limits"
_LARGEST = SIZES["critical"]
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)
_UNITS = {"": 1 / (1 << 20), "k": 1 / (1 << 10), "m": 1, "g": 1 << 10, "t": 1 << 20}
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_RESTARTS = ("always", "on-failure", RESTART)
_UNPUBLISH = "take it out of ports; others on its networks reach it without"


class _Limit(NamedTuple):
    """A limit: its key in a service and the one under ``deploy.resources.limits``; ``most`` is 0 where there is none."""

    short: str
    long: str
    fix: str
    most: float = 0
    unit: str = ""


def memory_limit(case: ServiceCase) -> Iterator[Missing]:
    """Is its memory limited, and to no more than the guide's largest class has?"""
    yield from _limited(case, _Limit("mem_limit", "memory", "512M", _LARGEST.memory, " MiB"))


def cpu_limit(case: ServiceCase) -> Iterator[Missing]:
    """Are its processors limited?"""
    if not case.it.text("cpu_quota"):
        yield from _limited(case, _Limit("cpus", "cpus", "'0.5'", float(_LARGEST.cpus)))


def pids_limit(case: ServiceCase) -> Iterator[Missing]:
    """Is the number of its processes limited? A fork bomb is everybody's on the host."""
    yield from _limited(case, _Limit("pids_limit", "pids", str(PIDS)))


def _limited(case: ServiceCase, limit: _Limit) -> Iterator[Missing]:
    said = case.it.text(limit.short) or case.it.text(*_LIMITS, limit.long)
    if "$" in said:
        return  # that it is not known here is said already
    mark = case.it.at(limit.short if limit.short in case.it.fields else "deploy")
    fix = f"deploy: {{resources: {{limits: {{{limit.long}: {limit.fix}}}}}}}"
    number = float(said) if _NUMBER.fullmatch(said) else 0
    amount = _mebibytes(said) if limit.long == "memory" else number
    if amount <= 0:
        seen = f"{said} is no {limit.long} limit" if said else f"no {limit.long} limit is set"
        yield warns(mark, seen, fix)
    elif limit.most and amount > limit.most:
        most = f"{limit.most:g}{limit.unit}"
        yield warns(mark, f"the {limit.long} limit is {said}, where the guide's largest class has {most}", fix)


def _mebibytes(text: str) -> float:
    """Memory in MiB; 0 for what is none."""
    match = _SIZE.fullmatch(text)
    return float(match[1]) * _UNITS[match[2].lower()] if match else 0


def health(case: ServiceCase) -> Iterator[Missing]:
    """Is there a check by the guide's standard, which can fail?"""
    mark, test = case.it.at("healthcheck"), case.it.node("healthcheck", "test")
    words = [word for said in texts_of(test) for word in said.text.split()]
    fix = (
        'healthcheck: {test: ["CMD", "curl", "-f", "http://localhost:PORT/health"], '
        f"{', '.join(f'{key}: {value}' for key, value in HEALTH.items())}}}"
    )
    if not words or words[0] == "NONE" or case.it.true("healthcheck", "disable"):
        yield warns(mark, "no health check is configured", fix)
        return
    if takes_every_answer(words):
        yield warns(mark, "curl without -f takes every answer for health", fix)
    lacking = [key for key in HEALTH if not case.it.text("healthcheck", key)]
    if lacking:
        yield warns(mark, f"it lacks {', '.join(lacking)}", fix)


def logging(case: ServiceCase) -> Iterator[Missing]:
    """Is its log kept small, and named?"""
    options = pairs_of(case.it.node("logging", "options"))
    driver = case.it.text("logging", "driver")
    fix = f"logging: {{driver: {LOG_DRIVER}, options: {{{', '.join(f'{k}: {v!r}' for k, v in LOG_OPTIONS.items())}}}}}"
    lacking = [key for key in LOG_OPTIONS if not options.get(key)]
    if driver != LOG_DRIVER:
        seen = f"the log driver is {driver}, not {LOG_DRIVER}" if driver else "no logging is configured"
        yield warns(case.it.at("logging"), seen, fix)
    elif lacking:
        yield warns(case.it.at("logging"), f"it lacks {', '.join(lacking)}", fix)


def labels(case: ServiceCase) -> Iterator[Missing]:
    """Does it say what it is?"""
    given = pairs_of(case.it.node("labels"))
    lacking = [label for label in LABELS if not given.get(label)]
    if lacking:
        fix = f"labels: {{{', '.join(f'{label}: …' for label in lacking)}}}"
        yield warns(case.it.at("labels"), f"it lacks {', '.join(lacking)}", fix)


def restart(case: ServiceCase) -> Iterator[Missing]:
    """Does it come back?"""
    said = case.it.text("restart")
    if said.partition(":")[0] not in _RESTARTS:
        seen = f"restart: {said}" if said else "nothing is said of restarts: it stays down"
        yield warns(case.it.at("restart"), seen, f"restart: {RESTART}")


def container_name(case: ServiceCase) -> Iterator[Missing]:
    """A policy knows containers by their names; without one Compose makes it up."""
    if not case.it.text("container_name"):
        seen = f"no name is given: Compose would call it PROJECT-{case.it.name}-1"
        yield warns(case.it.mark, seen, f"container_name: {case.it.name}")


def segmentation(case: ServiceCase) -> Iterator[Missing]:
    """Is it on networks that are named?"""
    mode = case.it.text("network_mode")
    if mode in ("none", "bridge", "default"):
        yield warns(case.it.at("network_mode"), f"network_mode: {mode}", "networks: [mcp-internal]")
    elif not mode and not case.networks:
        seen = "no network is named: Compose puts it on its default network, which leads outside"
        yield warns(case.it.at("networks"), seen, "networks: [mcp-internal]")


def network_internal(case: ServiceCase) -> Iterator[Missing]:
    """Only a gateway may be where packets leave. The guide has `internal: false` in one place: the safe reading is its other."""
    for said in case.networks if not case.gateway else ():
        network = case.file.networks.get(said.text)
        if network is None:
            seen = f"{said.text} is not declared: it leads outside"
            yield warns(said.mark, seen, f"networks: {said.text}: {{internal: true}}")
        elif external(network):
            seen = f"{said.text} is made elsewhere: whether it is internal is not to be seen here"
            yield warns(
                said.mark, seen, f"declare {said.text} here, with internal: true; `enforcer verify network` tries it"
            )
        elif not network.true("internal"):
            seen = f"{said.text} leads outside (internal: true is not set), and {case.why}"
            yield warns(said.mark, seen, f"networks: {said.text}: {{internal: true}}")


def published_ports(case: ServiceCase) -> Iterator[Missing]:
    """Only a gateway publishes, on a network that is not internal."""
    internal = [case.file.networks[s.text].true("internal") for s in case.networks if s.text in case.file.networks]
    shut = bool(internal) and len(internal) == len(case.networks) and all(internal)
    for said in ports_of(case.it):
        if not case.gateway:
            yield fails(said.mark, f"{said.text} is published, and {case.why}", _UNPUBLISH)
        elif shut:
            yield fails(said.mark, f"{said.text} is published, and every network of it is internal", _UNPUBLISH)
