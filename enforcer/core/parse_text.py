"""The words of a policy, each checked alone: names, globs, paths, modes, the ``who`` of a rule."""

from __future__ import annotations

import re
from collections.abc import Collection

from enforcer.core.cursor import Cursor, shown, suggestion
from enforcer.core.model import Mode
from enforcer.core.select import PLACEHOLDER

MODES = {"monitor": Mode.MONITOR, "enforce": Mode.ENFORCE}

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # Docker's own rule for containers and volumes
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.*?\[\]!-]")
_PLACEHOLDERS = re.compile(r"\{[^{}]*\}|[{}]")


def mode_of(cursor: Cursor) -> Mode | None:
    """``monitor`` or ``enforce``."""
    text = cursor.text()
    if text is not None and text not in MODES:
        cursor.refuse(f'unknown mode "{shown(text)}"; {suggestion(text, MODES)}')
    return None if text is None else MODES.get(text)


def who_of(cursor: Cursor, containers: Collection[str]) -> tuple[str, ...]:
    """The names of a rule's ``who``: one, or a list. Each must be declared under ``containers``."""
    each = cursor.many()
    if each == []:
        cursor.refuse('names nobody; give a name that stands under "containers"')
    names: list[str] = []
    for one in each or []:
        name = one.text()
        if name is None:
            continue
        if name not in containers:
            one.refuse(f'unknown name "{shown(name)}" (not under "containers"); {suggestion(name, containers)}')
        elif name in names:
            one.refuse(f'"{name}" is listed twice; keep one')
        names.append(name)
    return tuple(names)


def exact_name(cursor: Cursor, *, hint: str) -> str | None:
    """One name as Docker allows it, no glob. ``hint`` says what to do about anything else."""
    text = cursor.text()
    if text is None or _NAME.fullmatch(text):
        return text
    cursor.refuse(f'"{shown(text)}" is not a plain name; {hint}')
    return None


def glob(cursor: Cursor) -> str | None:
    """A glob over free text, such as an image or a label's value."""
    text = cursor.text()
    return None if text is None or not _sound_glob(cursor, text) else text


def name_glob(cursor: Cursor, *, placeholder: bool = False) -> str | None:
    """A glob over container or volume names; with ``placeholder`` it may hold ``{name}``."""
    text = cursor.text()
    if text is None or not _sound_placeholders(cursor, text, allowed=placeholder) or not _sound_glob(cursor, text):
        return None
    if alien := _NOT_IN_NAMES.search(text.replace(PLACEHOLDER, "")):
        hint = "; write {path: …} for a host path" if text.startswith("/") else ""
        cursor.refuse(f'"{shown(text)}" can match nothing: no Docker name holds "{alien[0]}"{hint}')
        return None
    return text


def host_path(cursor: Cursor, *, placeholder: bool = False) -> str | None:
    """An absolute path on the host, normalised: no empty or ``.`` component, no slash at the end."""
    text = cursor.text()
    if text is None or not _sound_placeholders(cursor, text, allowed=placeholder):
        return None
    parts = [p for p in text.split("/") if p not in {"", "."}]
    if not text.startswith("/"):
        cursor.refuse(f'"{shown(text)}" is relative; write the path from "/"')
    elif ".." in parts:
        cursor.refuse(f'"{shown(text)}" goes up with ".."; write the path that is meant')
    elif re.search(r"[*?[]", text):
        cursor.refuse(f'"{shown(text)}" is a glob; a path stands for itself and all below it: name the directory')
    elif not parts:
        cursor.refuse('"/" is the whole host; name the directory that is meant')
    else:
        return "/" + "/".join(parts)
    return None


def _sound_placeholders(cursor: Cursor, text: str, *, allowed: bool) -> bool:
    for found in _PLACEHOLDERS.findall(text):
        if found != PLACEHOLDER:
            cursor.refuse(f'unknown placeholder "{shown(found)}"; the only one is {PLACEHOLDER}')
            return False
        if not allowed:
            cursor.refuse(f"{PLACEHOLDER} has no meaning here; it stands for the container of a data rule")
            return False
    return True


def _sound_glob(cursor: Cursor, text: str) -> bool:
    if text and not (fault := glob_fault(text)):
        return True
    cursor.refuse(f'"{shown(text)}" is not a glob: {fault}' if text else "is an empty glob; write * for anything")
    return False


def glob_fault(pattern: str) -> str | None:
    """What is wrong with the brackets of ``pattern``: what ``fnmatch`` would silently take for something else."""
    rest = pattern
    while (start := rest.find("[")) >= 0:
        negated = rest[start + 1 : start + 2] == "!"
        first = start + 1 + negated
        end = rest.find("]", first + 1)  # a "]" that comes first is a member
        if end < 0:
            return '"[" is never closed; write [[] for the character itself'
        if fault := _set_fault(rest[first:end]):
            return fault
        rest = rest[end + 1 :]
    return None


def _set_fault(members: str) -> str | None:
    if members.startswith("^"):
        return "[^…] does not negate here; write [!…]"
    if "{" in members:
        return "a placeholder cannot stand between brackets"
    i = 0
    while i + 2 < len(members):
        if members[i + 1] == "-" and members[i] > members[i + 2]:
            return f'the range "{members[i : i + 3]}" is reversed'
        i += 3 if members[i + 1] == "-" else 1
    return None
