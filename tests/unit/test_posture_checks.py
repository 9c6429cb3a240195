"""The checks of a container's posture, each alone: what passes, what is warned of, what fails."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from enforcer.core.checks import Check
from enforcer.core.inspection import EngineSecurity, Inspection, Mounted, Owner
from enforcer.core.model import READ_ONLY, READ_WRITE, Access, Mode, NetRule, Policy, Selector, ToNetwork
from enforcer.core.outcome import Written
from enforcer.core.posture import Limits, PostureRule, PurposeVolume
from enforcer.posture.case import Case, Reached, Sharer
from enforcer.posture.existence import existence
from enforcer.posture.finding import Result
from enforcer.posture.mounts import Mounts
from enforcer.posture.table import TABLE, accepted, findings
from enforcer.posture.wanted import Expectation, Wanted, WantedVolume
from tests.unit.worlds import BACKEND, GUIDE, GUIDE_FACTS, ORCHESTRATOR, SELECTOR, STRANGER, WORKSTATION, container_id

PASS, WARN, FAIL = Result.PASS, Result.WARN, Result.FAIL
OWNER = Owner(1001, 1001, 0o750)
DATA = Mounted("volume", "/app/data", "a-data", "/v/a-data", owner=OWNER)
CONFIG = Mounted("volume", "/app/config", "a-config", "/v/a-config", writable=False, owner=Owner(0, 0, 0o755))
DONE = Written(tried=True, done=True)
REFUSED = Written(tried=True, done=False, how="EROFS: Read-only file system")
UNTRIED = Written(tried=False, done=False, how="it ended while it was looked at")
IT = Inspection(
    id=container_id(1),
    name="a",
    image="sha256:" + "0" * 64,
    status="running",
    running=True,
    health="healthy",
    user="1001:1001",
    uid=1001,
    networks=("inside",),
    memory=512 << 20,
    cpus=0.5,
    pids=100,
    read_only=True,
    cap_drop=("ALL",),
    security=("no-new-privileges",),
    mounts=(DATA, CONFIG),
)
WANTED = Wanted(
    rules=("posture.rules[0]",),
    user="1001:1001",
    networks=frozenset({"inside"}),
    volumes=(
        WantedVolume("a-data", "data", "/app/data", False),
        WantedVolume("a-config", "config", "/app/config", True),
    ),
    limits=Limits(memory=512 << 20, cpus=0.5, pids=100),
    internal=True,
)
GOOD = Case(
    it=IT,
    wanted=WANTED,
    reached=(Reached(DATA, {"volume a-data": READ_WRITE}), Reached(CONFIG, {"volume a-config": READ_ONLY})),
    tried={"/app/data": DONE, "/app/config": REFUSED},
    engine=EngineSecurity(sockets=frozenset({"/run/docker.sock"})),
)


def changed(**changes: Any) -> Case:
    """The good container, but for fields of its inspection."""
    return replace(GOOD, it=replace(IT, **changes))


def wanting(**changes: Any) -> Case:
    """The good container, of which something else is wanted."""
    return replace(GOOD, wanted=replace(WANTED, **changes))


def replace_mounts(*reached: Reached, **tried: Written) -> Case:
    """With these mounts; ``tried`` by the last part of the place."""
    places = {f"/app/{name}": written for name, written in tried.items()}
    return replace(GOOD, it=replace(IT, mounts=tuple(r.mount for r in reached)), reached=reached, tried=places)


def data(**changes: Any) -> Reached:
    """The data mount, but for some fields."""
    return Reached(replace(DATA, **changes), {"volume a-data": READ_WRITE})


def shared(*sharers: Sharer, **granted: Access) -> Case:
    """The data mount with others in it, or with another grant."""
    return replace(GOOD, reached=(Reached(DATA, granted or {"volume a-data": READ_WRITE}, sharers),))


BIND = Reached(Mounted("bind", "/app/data", "", "/srv/a", owner=OWNER))
OPEN_CONFIG = Reached(replace(CONFIG, writable=True), {"volume a-config": READ_ONLY})
SOCKET = Mounted("bind", "/s", "", "/run/docker.sock")
PORTS = {"80/tcp": ("*:8080",)}

ROWS = [
    (Check.DATA_VOLUME, GOOD, PASS, "a-data at /app/data"),
    (Check.DATA_VOLUME, replace_mounts(), FAIL, "nothing is mounted for a-data"),
    (Check.DATA_VOLUME, replace_mounts(BIND), FAIL, "a bind of /srv/a"),
    (Check.DATA_VOLUME, replace_mounts(Reached(Mounted("tmpfs", "/app/data"))), FAIL, "a tmpfs of memory"),
    (Check.SEGMENTATION, GOOD, PASS, "on inside"),
    (Check.SEGMENTATION, changed(networks=("outside",)), WARN, "not on inside: it is on outside"),
    (Check.SEGMENTATION, changed(networks=()), WARN, "no network"),
    (Check.HEALTH, GOOD, PASS, "healthy"),
    (Check.HEALTH, changed(health="none"), WARN, "no health check"),
    (Check.HEALTH, changed(health="starting"), WARN, "has not passed yet"),
    (Check.HEALTH, changed(health="unhealthy", health_said="exit 1"), FAIL, "unhealthy: exit 1"),
    (Check.HEALTH, changed(health="unhealthy", running=False), WARN, "does not run"),
    (Check.MEMORY_LIMIT, GOOD, PASS, "512 MiB"),
    (Check.MEMORY_LIMIT, changed(memory=0), WARN, "no memory limit"),
    (Check.MEMORY_LIMIT, changed(memory=1 << 30), WARN, "1024 MiB, where at most 512"),
    (Check.CPU_LIMIT, GOOD, PASS, "0.5 CPUs"),
    (Check.CPU_LIMIT, changed(cpus=0.0), WARN, "no CPU limit"),
    (Check.CPU_LIMIT, changed(cpus=1.0), WARN, "1 CPUs, where at most 0.5"),
    (Check.PIDS_LIMIT, GOOD, PASS, "100 processes"),
    (Check.PIDS_LIMIT, changed(pids=0), WARN, "no pids limit"),
    (Check.PIDS_LIMIT, changed(pids=200), WARN, "200 processes, where at most 100"),
    (Check.USER, GOOD, PASS, "1001:1001"),
    (Check.USER, changed(user="", uid=0), WARN, "no user is set, which is root"),
    (Check.USER, changed(user="root:root", uid=0), WARN, "which is root"),
    (Check.USER, changed(user="00:1001", uid=None), WARN, "which is root"),
    (Check.USER, changed(user="", uid=1001), WARN, "which is root, its first process has uid 1001"),
    (Check.USER, changed(user="mcp", uid=0), WARN, "which is root"),
    (Check.USER, changed(user="1002", uid=1002), WARN, "where 1001:1001 is wanted"),
    (Check.USER, changed(user="mcp", uid=1001), PASS, "user mcp"),
    (Check.USER, changed(user="1001:0", uid=1001), WARN, "where 1001:1001 is wanted"),
    (Check.READ_ONLY_ROOT, GOOD, PASS, "read-only"),
    (Check.READ_ONLY_ROOT, changed(read_only=False), WARN, "can be written"),
    (Check.NO_NEW_PRIVILEGES, GOOD, PASS, "is set"),
    (Check.NO_NEW_PRIVILEGES, changed(security=("no-new-privileges:true",)), PASS, "is set"),
    (Check.NO_NEW_PRIVILEGES, changed(security=("no-new-privileges:false",)), WARN, "setuid"),
    (Check.NO_NEW_PRIVILEGES, changed(security=()), WARN, "setuid"),
    (Check.CAPABILITY_DROP, GOOD, PASS, "are dropped"),
    (Check.CAPABILITY_DROP, changed(cap_drop=()), WARN, "default capabilities kept"),
    (Check.CAPABILITY_DROP, changed(cap_drop=("NET_RAW",)), WARN, "only NET_RAW dropped"),
    (Check.ADDED_CAPABILITIES, GOOD, PASS, "none"),
    (Check.ADDED_CAPABILITIES, changed(cap_add=("CHOWN",)), WARN, "CHOWN added"),
    (Check.ADDED_CAPABILITIES, changed(cap_add=("CHOWN", "SYS_ADMIN")), FAIL, "SYS_ADMIN added, which undoes"),
    (Check.ADDED_CAPABILITIES, changed(cap_add=("ALL",)), FAIL, "ALL added"),
    (Check.SECCOMP, GOOD, PASS, "engine's seccomp profile"),
    (Check.SECCOMP, changed(security=("seccomp={...}",)), PASS, "of its own"),
    (Check.SECCOMP, changed(security=("seccomp:unconfined",)), WARN, "no system call is filtered"),
    (Check.SECCOMP, replace(GOOD, engine=EngineSecurity(seccomp=False)), WARN, "the engine has no seccomp"),
    (Check.APPARMOR, GOOD, PASS, "profile"),
    (Check.APPARMOR, changed(security=("apparmor=unconfined",)), WARN, "no profile"),
    (Check.APPARMOR, changed(apparmor="unconfined"), WARN, "no profile"),
    (Check.APPARMOR, replace(GOOD, engine=EngineSecurity(labels=False)), PASS, "neither AppArmor nor SELinux"),
    (Check.PRIVILEGED, GOOD, PASS, "not privileged"),
    (Check.PRIVILEGED, changed(privileged=True), FAIL, "every capability"),
    (Check.HOST_NETWORK, GOOD, PASS, "of its own"),
    (Check.HOST_NETWORK, changed(mode={"net": "host"}), FAIL, "network_mode: host"),
    (Check.HOST_NETWORK, changed(mode={"net": "container:abc"}), WARN, "shares the network of abc"),
    (Check.HOST_PID, GOOD, PASS, "of its own"),
    (Check.HOST_PID, changed(mode={"pid": "host"}), FAIL, "pid: host"),
    (Check.HOST_IPC, GOOD, PASS, "of its own"),
    (Check.HOST_IPC, changed(mode={"ipc": "host"}), FAIL, "ipc: host"),
    (Check.HOST_UTS, GOOD, PASS, "of its own"),
    (Check.HOST_UTS, changed(mode={"uts": "host"}), WARN, "uts: host"),
    (Check.HOST_USERNS, GOOD, PASS, "of its own"),
    (Check.HOST_USERNS, changed(mode={"userns": "host"}), WARN, "userns_mode: host"),
    (Check.VOLUME_MOUNTS, GOOD, PASS, "a-config at /app/config"),
    (Check.VOLUME_MOUNTS, replace_mounts(data()), WARN, "nothing that lasts is mounted for a-config"),
    (Check.VOLUME_NAME, GOOD, PASS, "a-data"),
    (
        Check.VOLUME_NAME,
        replace_mounts(data(name="other")),
        WARN,
        "other at /app/data, where the convention has a-data",
    ),
    (Check.VOLUME_OWNER, GOOD, PASS, "/v/a-data is 1001:1001, mode 0750"),
    (Check.VOLUME_OWNER, replace_mounts(data(owner=Owner(0, 0, 0o755))), WARN, "0:0, mode 0755, while it runs as 1001"),
    (Check.VOLUME_OWNER, replace_mounts(data(owner=Owner(1001, 1001, 0o777))), WARN, "everybody may write"),
    (Check.VOLUME_OWNER, replace_mounts(data(owner=None)), WARN, "is not there"),
    (Check.DATA_WRITE, GOOD, PASS, "can write to /app/data"),
    (Check.DATA_WRITE, replace_mounts(data(), data=REFUSED), FAIL, "cannot write to /app/data: EROFS"),
    (Check.DATA_WRITE, replace_mounts(data(), data=UNTRIED), WARN, "not tried at /app/data: it ended"),
    (Check.DATA_WRITE, replace_mounts(data()), WARN, "it does not run"),
    (Check.DATA_WRITE, replace_mounts(data(writable=False)), FAIL, "mounted read-only"),
    (Check.CONFIG_WRITE, GOOD, PASS, "is read-only"),
    (Check.CONFIG_WRITE, replace_mounts(data(), OPEN_CONFIG, config=DONE), FAIL, "can write to /app/config"),
    (Check.CONFIG_WRITE, replace_mounts(data(), OPEN_CONFIG, config=REFUSED), WARN, "an attempt ended with EROFS"),
    (Check.CONFIG_WRITE, replace_mounts(data(), OPEN_CONFIG), WARN, "mounted for writing"),
    (Check.VOLUME_SHARED, GOOD, PASS, "nothing of its mounts is another's"),
    (Check.VOLUME_SHARED, shared(volume_b=Access.NONE), FAIL, "leads to volume_b, which no rule grants it"),
    (Check.VOLUME_SHARED, shared(Sharer("b", False, Access.NONE)), FAIL, "is mounted in b too"),
    (Check.VOLUME_SHARED, shared(Sharer("b", False, READ_ONLY)), PASS, "nothing"),
    (Check.VOLUME_SHARED, shared(Sharer("b", True, None)), WARN, "is shared with b"),
    (Check.DOCKER_SOCKET, GOOD, PASS, "not mounted"),
    (Check.DOCKER_SOCKET, changed(mounts=(SOCKET,)), FAIL, "/run/docker.sock is mounted at /s"),
    (Check.DOCKER_SOCKET, changed(mounts=(replace(SOCKET, path="/run"),)), FAIL, "/run is mounted"),
    (Check.DOCKER_SOCKET, changed(mounts=(replace(SOCKET, path="/"),)), FAIL, "/ is mounted"),
    (Check.DOCKER_SOCKET, changed(mounts=(replace(SOCKET, path="/run/docker.sock2"),)), PASS, "not mounted"),
    (Check.PUBLISHED_PORTS, GOOD, PASS, "nothing"),
    (Check.PUBLISHED_PORTS, changed(published=PORTS), FAIL, "80/tcp is published at *:8080"),
    (Check.IMAGE_TAG, GOOD, PASS, "sha256:"),
    (Check.IMAGE_TAG, changed(image="agent@sha256:" + "0" * 64), PASS, "agent@sha256:"),
    (Check.IMAGE_TAG, changed(image="registry.example:5000/agent:1.0"), WARN, "is a tag"),
    (Check.IMAGE_TAG, changed(image="agent"), WARN, "is a tag"),
]


@pytest.mark.parametrize(("check", "case", "result", "evidence"), ROWS, ids=lambda value: str(value)[:40])
def test_a_check(check: Check, case: Case, result: Result, evidence: str) -> None:
    """The worst that it says, with its evidence; what does not pass has a fix."""
    seen = max(TABLE[check].look(case), key=lambda s: (PASS, WARN, FAIL).index(s.result))
    assert (seen.result, evidence in seen.evidence) == (result, True), seen
    assert bool(seen.fix) == (result is not PASS)


def test_every_check_is_tested_good_and_bad() -> None:
    """No check without a container that passes it and one that does not."""
    assert {c for c, _, result, _ in ROWS if result is PASS} == set(TABLE)
    assert {c for c, _, result, _ in ROWS if result is not PASS} == set(TABLE)
    assert {*TABLE, Check.EXISTENCE} == set(Check)


def test_what_is_wanted_decides() -> None:
    """Health that is not required, capabilities and ports that are named, no limit in particular, no wanted volume."""
    looked = [
        (Check.HEALTH, replace(changed(health="none"), wanted=replace(WANTED, health=False))),
        (
            Check.ADDED_CAPABILITIES,
            replace(changed(cap_add=("CHOWN",)), wanted=replace(WANTED, capabilities=frozenset({"CHOWN"}))),
        ),
        (Check.PUBLISHED_PORTS, replace(changed(published=PORTS), wanted=replace(WANTED, internal=False))),
        (Check.PUBLISHED_PORTS, replace(changed(published=PORTS), wanted=replace(WANTED, publish=frozenset(PORTS)))),
        (Check.MEMORY_LIMIT, replace(changed(memory=1 << 40), wanted=replace(WANTED, limits=Limits()))),
        (Check.USER, replace(changed(user="7", uid=7), wanted=replace(WANTED, user=""))),
    ]
    assert [s.result for check, case in looked for s in TABLE[check].look(case)] == [PASS] * len(looked)
    other = replace(changed(published=PORTS), wanted=replace(WANTED, publish=frozenset(), internal=False))
    assert [s.result for s in TABLE[Check.PUBLISHED_PORTS].look(other)] == [FAIL]
    assert list(TABLE[Check.DATA_VOLUME].look(wanting(volumes=()))) == []


def test_accepting_passes_and_says_so() -> None:
    """The evidence stays, with the rule that accepts it; nothing is to be done."""
    case = wanting(accept=frozenset({Check.IMAGE_TAG}))
    [seen] = TABLE[Check.IMAGE_TAG].look(replace(case, it=replace(IT, image="agent:1")))
    kept = accepted(Check.IMAGE_TAG, case, seen)
    assert (kept.result, kept.evidence.endswith("(accepted by posture.rules[0])")) == (PASS, True)
    assert accepted(Check.USER, case, seen) is seen


def test_findings_name_check_container_and_section() -> None:
    """One finding at least for each check, in the order of the table."""
    found = list(findings([GOOD]))
    assert list(dict.fromkeys(f.check for f in found)) == [str(c) for c in TABLE]
    assert {f.container for f in found} == {"a"}
    assert all(f.section for f in found)


# --- what is wanted ---------------------------------------------------------------------------------------------------

AGENT = replace(IT, id=SELECTOR.id, name=SELECTOR.name, networks=("mcp-internal",))


def test_expectations_from_the_grants_alone() -> None:
    """Networks from the network rules, volumes from the data rules; patterns of many volumes are no expectation."""
    wanted = Expectation(GUIDE, GUIDE_FACTS).of(AGENT)
    assert wanted.networks == {"mcp-internal"}
    assert {(v.name, v.purpose, v.read_only) for v in wanted.volumes} == {
        ("mcp-01-selector-data", "data", False),
        ("mcp-01-selector-logs", "logs", False),
        ("mcp-01-selector-config", "config", True),
    }
    assert (wanted.internal, wanted.publish, wanted.health) == (True, None, True)
    orchestrator = Expectation(GUIDE, GUIDE_FACTS).of(replace(IT, id=ORCHESTRATOR.id, name=ORCHESTRATOR.name))
    assert {v.name for v in orchestrator.volumes} == {"mcp-20-orchestrator-data"}


def test_later_posture_rules_hold_and_lists_add_up() -> None:
    """From the general to the special."""
    rules = (
        PostureRule("p0", ("agents",), user="1:1", limits=Limits(1, 1.0, 1), capabilities=("A",), publish=("1/tcp",)),
        PostureRule(
            *("p1", ("agents",)),
            user="2:2",
            networks=("x",),
            volumes=(PurposeVolume("data", "/d"),),
            limits=Limits(memory=2),
            health=False,
            capabilities=("B",),
            publish=("2/tcp",),
            accept=frozenset({Check.USER}),
        ),
        PostureRule("p2", ("gateway",), user="3:3"),
    )
    wanted = Expectation(replace(GUIDE, posture=rules), GUIDE_FACTS).of(AGENT)
    assert (wanted.rules, wanted.user, wanted.networks) == (("p0", "p1"), "2:2", {"x"})
    assert wanted.limits == Limits(2, 1.0, 1)
    assert (wanted.capabilities, wanted.publish, wanted.health) == ({"A", "B"}, {"1/tcp", "2/tcp"}, False)
    assert [(v.name, v.destination) for v in wanted.volumes] == [("mcp-01-selector-data", "/d")]
    assert wanted.accept == {Check.USER}


def test_whom_the_policy_speaks_of() -> None:
    """Strangers are nobody's business, and one that is gone meanwhile is nobody."""
    expectation = Expectation(GUIDE, GUIDE_FACTS)
    known = {c.name: expectation.concerns(replace(IT, id=c.id)) for c in (SELECTOR, WORKSTATION, STRANGER)}
    assert known == {SELECTOR.name: True, WORKSTATION.name: True, STRANGER.name: False}
    assert not expectation.concerns(replace(IT, id=container_id(999)))


# --- mounts -----------------------------------------------------------------------------------------------------------


def inspection(container: Any, *mounts: Mounted) -> Inspection:
    """A container with these mounts."""
    return replace(IT, id=container.id, name=container.name, mounts=mounts)


def at(volume: str, place: str = "/x", path: str = "") -> Mounted:
    """A volume of the guide's world, or a path."""
    return Mounted("bind" if path else "volume", place, "" if path else volume, path or f"/volume/{volume}")


@pytest.mark.parametrize(
    ("own", "other", "result"),
    [
        (at("mcp-01-selector-data"), at("mcp-02-backend-data"), PASS),
        (at("mcp-02-backend-data"), at("mcp-02-backend-data"), FAIL),
        (at("mcp-01-selector-data"), at("mcp-01-selector-data"), FAIL),
        (at("", path="/volume/mcp-02-backend-data/deep"), at("mcp-02-backend-data"), FAIL),
        (at("", path="/volume"), at("mcp-02-backend-data"), FAIL),
        (at("scratch"), at("scratch"), WARN),
        (at("", path="/srv/x"), at("", path="/srv/xy"), PASS),
    ],
)
def test_who_shares_what(own: Mounted, other: Mounted, result: Result) -> None:
    """By where data lies, not by what it is called; what the policy does not protect is asked about."""
    one, two = inspection(SELECTOR, own), inspection(BACKEND, other)
    case = Case(one, reached=Mounts(GUIDE, GUIDE_FACTS, [one, two]).of(one))
    assert [s.result for s in TABLE[Check.VOLUME_SHARED].look(case)] == [result]


def test_what_is_granted_to_both_is_no_leak() -> None:
    """The orchestrator reads every agent's configuration: neither side is found fault with."""
    config = at("mcp-01-selector-config")
    one, two = inspection(SELECTOR, config), inspection(ORCHESTRATOR, config)
    mounts = Mounts(GUIDE, GUIDE_FACTS, [one, two])
    for inspected in (one, two):
        case = Case(inspected, reached=mounts.of(inspected))
        assert [s.result for s in TABLE[Check.VOLUME_SHARED].look(case)] == [PASS]
        assert [s.result for s in TABLE[Check.CONFIG_WRITE].look(case)] == [
            WARN
        ]  # it may only be read, and is mounted rw


# --- existence --------------------------------------------------------------------------------------------------------


def exist(policy: Policy, *inspections: Inspection) -> list[tuple[str, Result]]:
    """What is said of whom."""
    return [(name, seen.result) for name, seen in existence(policy, GUIDE_FACTS, inspections)]


def test_existence_by_name() -> None:
    """Missing, stopped, and one too many."""
    policy = replace(GUIDE, posture=(PostureRule("p", ("agents",), names=(SELECTOR.name, "mcp-09-gone")),))
    stopped = replace(IT, id=SELECTOR.id, name=SELECTOR.name, running=False, status="exited")
    extra = replace(IT, id=BACKEND.id, name=BACKEND.name)
    found = dict(exist(policy, stopped, extra))
    assert {SELECTOR.name, "mcp-09-gone", BACKEND.name} == {n for n, r in found.items() if n and r is FAIL}
    running = replace(stopped, running=True)
    assert dict(exist(policy, running))[SELECTOR.name] is PASS


def test_existence_by_number() -> None:
    """Too few and too many fail, as in the guide."""
    agents = [replace(IT, id=c.id, name=c.name) for c in (SELECTOR, BACKEND)]
    for count, result in ((1, FAIL), (2, PASS), (3, FAIL)):
        policy = Policy(Mode.ENFORCE, GUIDE.containers, posture=(PostureRule("p", ("agents",), count=count),))
        assert exist(policy, *agents) == [("", result)]


def test_existence_without_posture() -> None:
    """Each kind of container that a rule names must be there."""
    policy = Policy(
        Mode.ENFORCE,
        {"here": Selector(name=SELECTOR.name), "gone": Selector(name="nobody"), "unused": Selector(name="x")},
        net_rules=(NetRule("r", ("here", "gone"), (ToNetwork("n"),)),),
    )
    assert exist(policy, replace(IT, id=SELECTOR.id)) == [("", FAIL), ("", PASS)]


def test_the_readme_explains_every_check() -> None:
    """By its id, which is what a policy accepts and a dashboard shows."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    assert [str(check) for check in Check if f"`{check}`" not in readme] == []


def test_no_fix_removes_a_volume() -> None:
    """The guide's own fix for a shared volume would: what is in it is somebody's."""
    seen = [s for check, case, _, _ in ROWS for s in TABLE[check].look(case)]
    assert not [s for s in seen if "volume rm" in s.fix]


def test_paths_in_a_fix_are_quoted() -> None:
    """A directory's name may be anything."""
    odd = data(path="/srv/a b;reboot", owner=Owner(0, 0, 0o755))
    [seen] = TABLE[Check.VOLUME_OWNER].look(replace_mounts(odd))
    assert "'/srv/a b;reboot'" in seen.fix
