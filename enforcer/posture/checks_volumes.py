"""The guide's volume verification on one container: what is mounted, whose it is, who else has it, what can be written."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from enforcer.core.model import Access
from enforcer.posture.case import Case, Reached, Seen, Sharer, broken, passed, warned
from enforcer.posture.wanted import DATA, WantedVolume

VOLUME, TMPFS = "volume", "tmpfs"
OTHERS_WRITE = 0o002  # S_IWOTH of stat(2)


def data_volume(case: Case) -> Iterator[Seen]:
    """Has it the data volume that it is to have? A directory of the host at its place is none, as in the guide."""
    for volume in _data_of(case):
        found = case.mount_for(volume)
        fix = f"enforcer volumes create; compose: volumes: [{volume.name}:{volume.destination or '/app/data'}:rw]"
        if found is None:
            yield broken(f"nothing is mounted for {volume}", fix)
        elif found.mount.kind != VOLUME:
            yield broken(f"a {found.mount.kind} of {found.mount.path or 'memory'} is mounted for {volume}", fix)
        else:
            yield passed(f"{found.mount.name} at {found.mount.destination}")


def volume_mounts(case: Case) -> Iterator[Seen]:
    """Are its other volumes mounted (logs, configuration)?"""
    for volume in (v for v in case.wanted.volumes if v not in _data_of(case)):
        found = case.mount_for(volume)
        end = ":ro" if volume.read_only else ":rw"
        if found is None or found.mount.kind == TMPFS:
            fix = f"enforcer volumes create; compose: volumes: [{volume.name}:{volume.destination or '/app/…'}{end}]"
            yield warned(f"nothing that lasts is mounted for {volume}", fix)
        else:
            yield passed(f"{found.mount.name or found.mount.path} at {found.mount.destination}")


def volume_name(case: Case) -> Iterator[Seen]:
    """Is what is mounted called as the guide's convention has it? The data rules of a policy rely on it."""
    for volume in case.wanted.volumes:
        found = case.mount_for(volume)
        if found is None or found.mount.kind != VOLUME:
            continue
        if found.mount.name == volume.name:
            yield passed(volume.name)
        else:
            yield warned(
                f"{found.mount.name} at {found.mount.destination}, where the convention has {volume.name}",
                f"compose: volumes: {volume.name}: {{name: {volume.name}}}, and move the data over",
            )


def volume_owner(case: Case) -> Iterator[Seen]:
    """Do the directories that it writes to belong to the user that it runs as, and to nobody else?"""
    for volume, found in _writable(case):
        owner, user = found.mount.owner, _user(case)
        if owner is None:
            yield warned(f"{found.mount.path} is not there", "enforcer volumes create")
            continue
        fix = f"chown -R {_chown(case)} {_quoted(found)} && chmod o-w {_quoted(found)}"
        seen = f"{found.mount.path} is {owner.uid}:{owner.gid}, mode {owner.mode:04o}"
        if owner.mode & OTHERS_WRITE:
            yield warned(f"{seen}: everybody may write to {volume.name}", fix)
        elif user is not None and owner.uid != user:
            yield warned(f"{seen}, while it runs as {user}", fix)
        else:
            yield passed(seen)


def data_write(case: Case) -> Iterator[Seen]:
    """Can it really write where it is to write? Tried from inside, as its first process would."""
    for volume, found in _writable(case):
        place = found.mount.destination
        tried = case.tried.get(place)
        fix = f"chown -R {_chown(case)} {_quoted(found)}; compose: volumes: [{volume.name}:{place}:rw]"
        if tried is not None and tried.tried:
            done = f"{case.it.name} can write to {place}"
            yield passed(done) if tried.done else broken(f"it cannot write to {place}: {tried.how}", fix)
        elif not found.mount.writable:
            yield broken(f"{place} is mounted read-only", fix)
        else:
            why = tried.how if tried else "it does not run"
            yield warned(f"not tried at {place}: {why}", f"docker start {case.it.name}, then verify again")


def config_write(case: Case) -> Iterator[Seen]:
    """Is what it may only read out of its reach for writing?"""
    for reached in case.reached:
        mount = reached.mount
        if not _only_read(case, reached):
            continue
        tried = case.tried.get(mount.destination)
        fix = f"compose: volumes: [{mount.name or mount.path}:{mount.destination}:ro]"
        if tried is not None and tried.done:
            yield broken(f"it can write to {mount.destination}, which it may only read", fix)
        elif mount.writable:
            held = f"; an attempt ended with {tried.how}" if tried and tried.tried else ""
            yield warned(f"{mount.destination} is mounted for writing, and it may only read it{held}", fix)
        else:
            yield passed(f"{mount.destination} is read-only")


def volume_shared(case: Case) -> Iterator[Seen]:
    """Has it data of others, or others its own? What the policy grants to both is no leak."""
    seen = [s for reached in case.reached for s in _shared(case, reached)]
    yield from seen
    if not seen:
        yield passed("nothing of its mounts is another's")


def _shared(case: Case, reached: Reached) -> Iterator[Seen]:
    mount = reached.mount
    what, place = mount.name or mount.path, mount.destination
    foreign = sorted(name for name, granted in reached.granted.items() if Access.READ not in granted)
    if foreign:
        fix = f"compose: take {what} out of the volumes of {case.it.name}, and start it anew"
        yield broken(f"{what} at {place} leads to {', '.join(foreign)}, which no rule grants it", fix)
        return
    leaks = [s for s in reached.sharers if s.granted is not None and Access.READ not in s.granted]
    if leaks:
        fix = f"compose: take it out of the volumes of {_names(leaks)}, and start anew what has it"
        yield broken(f"{what} at {place} is mounted in {_names(leaks)} too, which no rule grants it", fix)
        return
    free = [s for s in reached.sharers if s.granted is None]
    if free and (mount.writable or any(s.writable for s in free)):
        fix = f"docker volume create {case.it.name}-{DATA}; compose: volumes: a volume of its own for each"
        yield warned(f"{what} at {place} is shared with {_names(free)}, and the policy does not protect it", fix)


def _names(sharers: list[Sharer]) -> str:
    return ", ".join(sorted({s.name for s in sharers}))


def _data_of(case: Case) -> list[WantedVolume]:
    """What the policy calls data; where it calls nothing so, everything that is to be written."""
    written = [v for v in case.wanted.volumes if not v.read_only]
    return [v for v in written if v.purpose == DATA] or written


def _writable(case: Case) -> Iterator[tuple[WantedVolume, Reached]]:
    for volume in case.wanted.volumes:
        found = case.mount_for(volume)
        if found is not None and found.mount.kind != TMPFS and not volume.read_only:
            yield volume, found


def _only_read(case: Case, reached: Reached) -> bool:
    wanted = next((v for v in case.wanted.volumes if case.mount_for(v) is reached), None)
    if wanted is not None and wanted.destination:
        return wanted.read_only
    rights = reached.granted.values()
    return any(Access.READ in granted and Access.WRITE not in granted for granted in rights)


def _user(case: Case) -> int | None:
    """The uid that it runs as, or would."""
    if case.it.uid is not None:
        return case.it.uid
    said = (case.it.user or case.wanted.user).partition(":")[0]
    return int(said) if said.isdecimal() else None


def _quoted(found: Reached) -> str:
    return shlex.quote(found.mount.path)


def _chown(case: Case) -> str:
    return case.wanted.user or case.it.user or "1001:1001"
