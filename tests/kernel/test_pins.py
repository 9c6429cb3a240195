"""What is pinned outlives its agent; the next one adopts it, or replaces it without a gap, or leaves it alone."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from enforcer.core.compile import compile as compile_image
from enforcer.core.ids import Ids
from enforcer.core.model import Facts, Mechanism, Mode, Policy
from enforcer.core.plan import plan
from enforcer.edges.bpf.libbpf import Libbpf
from enforcer.edges.bpf.loader import Loader
from enforcer.edges.bpf.pins import remove
from enforcer.edges.bpf.source import Source, probes_directory
from enforcer.edges.cgroup import Cgroups
from enforcer.errors import AbiError, HostError
from enforcer.runtime.canary import Canary, counted
from enforcer.runtime.probes import Probes

MECHANISM = os.environ.get("ENFORCER_MECHANISM", "")
INSTANCE = 4711


@dataclass
class Place:
    """A directory of pins, and a scratch cgroup whose canary tells whether anything is in force."""

    pins: Path
    cgroups: Cgroups
    parent: str
    canary: Canary
    open: list[Probes] = field(default_factory=list)

    def probes(self, source: Source | None = None, *, instance: int = INSTANCE) -> Probes:
        """What an agent's start brings up, attached and proved, but not yet committed."""
        made = Probes(self.pins, source or Source.of(probes_directory()), instance=instance, mechanism=MECHANISM)
        self.open.append(made)
        image = compile_image(Policy(Mode.ENFORCE), Facts(), Ids(), 1, canary=self.canary.inode())
        for op in plan(None, image):
            made.maps.apply(op)
        made.attach(self.cgroups, [self.parent], self.canary.run)
        return made

    def leave(self, probes: Probes) -> None:
        """The agent dies: its descriptors and its lock go, its pins stay."""
        probes.maps.close()
        probes.release()
        self.open.remove(probes)

    def builds(self) -> list[str]:
        """The names of what is pinned."""
        return sorted(p.name for p in self.pins.iterdir()) if self.pins.exists() else []


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A place of its own; everything in it is taken down at the end."""
    name = f"enforcer-pins-{os.getpid()}-{secrets.token_hex(3)}"
    cgroups = Cgroups()
    cgroups.ensure(f"/{name}")
    made = Place(Path("/sys/fs/bpf") / name, cgroups, f"/{name}", Canary(cgroups, f"/{name}", tmp_path, name="canary"))
    yield made
    for probes in list(made.open):
        made.leave(probes)
    Loader(made.pins, Libbpf()).unload()
    cgroups.remove(f"/{name}")


@pytest.fixture
def other(tmp_path: Path) -> Source:
    """The same probes, one comment longer: another build."""
    shutil.copytree(probes_directory(), tmp_path / "probes")
    with (tmp_path / "probes" / "main.c").open("a") as main:
        main.write("/* another build */\n")
    return Source.of(tmp_path / "probes")


def held(probes: Probes) -> dict[str, str]:
    """Hook → mechanism."""
    return {h.hook: h.mechanism.name if h.mechanism else "" for h in probes.holds}


def test_the_next_agent_adopts(place: Place) -> None:
    """The same source and state: nothing is built, what holds goes on holding, counts go on."""
    first = place.probes()
    first.commit()
    before, mechanisms = counted(first.maps), held(first)
    place.leave(first)
    second = place.probes()
    assert (second.adopted, held(second)) == (True, mechanisms)
    assert counted(second.maps) == before  # what was proved when it was put in force is not tried again
    assert place.canary.run(second.maps, {"open": Mechanism[mechanisms["open"]]}).failures == {}
    assert counted(second.maps)["open"] == before["open"] + 1


def test_in_force_while_no_agent_lives(place: Place) -> None:
    """Between two agents the programs judge and count."""
    first = place.probes()
    first.commit()
    opens = next(h.mechanism for h in first.holds if h.hook == "open")
    maps = first.open_maps()
    place.leave(first)
    assert place.canary.run(maps, {"open": opens}).failures == {}
    maps.close()


def test_another_build_replaces_the_old_one(place: Place, other: Source) -> None:
    """The new build stands beside the old one until it is in force; then only it is left, without the old one's links."""
    first = place.probes()
    first.commit()
    [old] = place.builds()
    place.leave(first)
    second = place.probes(other)
    assert not second.adopted
    assert len(place.builds()) == 2
    assert old in place.builds()
    second.commit()
    assert {link.parts[-3] for link in place.pins.glob("*/links/*")} == {other.build}
    second.hand_over(lambda rings, maps: None)
    assert place.builds() == [other.build] != [old]


def test_maps_of_another_state_are_not_adopted(place: Place) -> None:
    """Pinned maps that speak in numbers of a lost state directory are replaced, not misread."""
    first = place.probes()
    first.commit()
    before = counted(first.maps)
    place.leave(first)
    second = place.probes(instance=INSTANCE + 1)
    assert not second.adopted
    second.commit()
    assert counted(second.maps) == before  # the second start's own proof, and nothing of the first one's
    assert len(place.builds()) == 1


@pytest.mark.parametrize("before", [False, True])
def test_a_start_that_fails_leaves_what_was_there(place: Place, other: Source, before: bool) -> None:
    """Given up, a first start leaves nothing; one beside an older build leaves that one in force."""
    if before:
        first = place.probes()
        first.commit()
        place.leave(first)
    left = place.builds()
    second = place.probes(other)
    second.give_up()
    second.release()
    place.open.remove(second)
    assert place.builds() == left
    assert place.pins.exists() == before


def test_what_a_crash_left_half_built_goes(place: Place) -> None:
    """A build that was never committed is taken down by the next start."""
    first = place.probes()
    assert place.builds() == [Source.of(probes_directory()).build + "-new"]
    place.leave(first)
    second = place.probes()
    assert not second.adopted


def test_one_agent_per_directory(place: Place) -> None:
    """A second agent on the same pins is refused, and so is unload, while the first one lives."""
    first = place.probes()
    first.commit()
    for second in (place.probes, Loader(place.pins, Libbpf()).unload):
        with pytest.raises(HostError, match="another agent holds"):
            second()
    assert len(place.builds()) == 1


def test_unload_leaves_no_trace(place: Place) -> None:
    """After unload there is no pin, and nothing is stopped any more."""
    first = place.probes()
    first.commit()
    maps = first.open_maps()
    opens = next(h.mechanism for h in first.holds if h.hook == "open")
    assert first.unload() >= 8
    first.release()
    place.open.remove(first)
    assert not place.pins.exists()
    failures = place.canary.run(maps, {"open": opens, "connect4": Mechanism.CGROUP}).failures
    assert set(failures) == {"connect4", "open"}
    maps.close()


def test_the_canary_sees_a_probe_that_was_taken_away(place: Place) -> None:
    """A link that someone removes behind the agent's back is found by the next self-test."""
    first = place.probes()
    first.commit()
    opens = next(h.mechanism for h in first.holds if h.hook == "open")
    holds = {"open": opens, "connect4": Mechanism.CGROUP}
    assert place.canary.run(first.maps, holds).success
    links = list(place.pins.glob("*/links/*"))
    for link in links:
        if "connect4" in link.name:
            link.unlink()
    assert set(place.canary.run(first.maps, holds).failures) == {"connect4"}
    for link in links:
        link.unlink(missing_ok=True)
    assert set(place.canary.run(first.maps, holds).failures) == {"connect4", "open"}
    assert place.canary.run(first.maps, {"open": None}).failures["open"] == "nothing holds open"


def test_probes_that_do_not_compile(place: Place, tmp_path: Path) -> None:
    """A source that is broken is our bug and is said with the compiler's first error; nothing is left behind."""
    shutil.copytree(probes_directory(), tmp_path / "broken")
    with (tmp_path / "broken" / "main.c").open("a") as main:
        main.write("this is no C;\n")
    with pytest.raises(AbiError, match="error:"):
        Probes(place.pins, Source.of(tmp_path / "broken"), instance=1)
    assert place.builds() == []


def test_what_was_compiled_is_kept(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same text is compiled once; a result that is torn is made anew; no other user can put one in."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("CACHE_DIRECTORY", str(cache))
    source, loader = Source.of(probes_directory()), Loader(place.pins, Libbpf())
    loader.prepare()
    try:
        remove(loader.build(source).pins)
        [kept] = cache.iterdir()
        whole, made = kept.read_bytes(), kept.stat().st_ino
        remove(loader.build(source).pins)
        assert kept.stat().st_ino == made
        kept.write_bytes(whole[:1000])
        remove(loader.build(source).pins)
        assert kept.read_bytes() == whole
        cache.chmod(0o777)
        with pytest.raises(HostError, match=r"others may write in .* \(CACHE_DIRECTORY\)"):
            loader.build(source)
    finally:
        loader.unload()


def test_pins_must_be_on_a_bpffs(tmp_path: Path) -> None:
    """Another filesystem cannot hold pins: that is said before anything is built."""
    with pytest.raises(HostError, match="not on a bpffs"):
        Probes(tmp_path / "pins", Source.of(probes_directory()), instance=1)


def test_nothing_but_builds_is_touched(place: Place, tmp_path: Path) -> None:
    """Another program's pins in the same directory, and the root of a bpffs, are left alone; so is any other filesystem."""
    first = place.probes()
    theirs = place.pins / "theirs" / "links"
    theirs.mkdir(parents=True)
    first.commit()
    first.unload()
    first.release()
    place.open.remove(first)
    assert theirs.is_dir()
    theirs.rmdir()
    theirs.parent.rmdir()
    place.pins.rmdir()
    (tmp_path / "pins" / "0123456789abcdef" / "links").mkdir(parents=True)
    kept = tmp_path / "pins" / "0123456789abcdef" / "links" / "file"
    kept.write_text("a file")
    for pins in (tmp_path / "pins", Path("/sys/fs/bpf")):
        with pytest.raises(HostError, match="bpffs"):
            Loader(pins, Libbpf()).unload()
    assert kept.read_text() == "a file"
