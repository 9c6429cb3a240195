"""From what was told, seen from the host and recorded, one word for each way; a way that proves nothing has none."""

from __future__ import annotations

from tests.attacks.told import Played, Told
from tests.attacks.ways import KILLED, LATE, NOT_SEEN, SEEN, STOPPED, Proof, Way, Word


class Unproven(Exception):  # noqa: N818 - what it says is that the way shows nothing
    """The way did not work where nothing stood in it, or ended as no way may."""


def arrived(way: Way, told: Told, secret: str) -> bool:
    """Whether the way has led to its end."""
    if way.proof is Proof.CHANGE:
        return told.changed
    if way.proof is Proof.BYTES:
        return secret in told.proof
    return told.outcome == "reached" or bool(told.proof)


def prove(way: Way, played: Played) -> None:
    """Raise ``Unproven`` unless the way works without the enforcer."""
    tries = played.before.get(way.key, [])
    if not tries or not all(t.outcome == "reached" and arrived(way, t, played.secret) for t in tries):
        other = "; does another enforcer run on this machine?" if any(t.outcome == "killed" for t in tries) else ""
        raise Unproven(f"{way.key} does not work without the enforcer: {tries}{other}")


def word(way: Way, played: Played) -> Word:
    """What became of the way under the enforcer. Raises ``Unproven``."""
    prove(way, played)
    # the sweep of open files comes now and then, and sees what happens to be open: no way ends by it
    counted = sum(e.count for e in played.events.get(way.key, []) if e.mechanism != "sweep")
    tries = played.under.get(way.key, [])
    words = {_word_of(way, t, counted, played.secret) for t in tries}
    if len(words) != 1:
        raise Unproven(f"{way.key} ends in {len(words)} different ways: {tries}")
    (found,) = words
    if found in (STOPPED, KILLED) and counted < len(tries):
        raise Unproven(f"{way.key}: {len(tries)} were {found}, {counted} counted")
    return found


def _word_of(way: Way, told: Told, counted: int, secret: str) -> Word:
    there = arrived(way, told, secret)
    if told.outcome == "killed":
        return LATE if there else KILLED
    if told.outcome == "reached":
        if not there:
            raise Unproven(f"{way.key} says that it is there, and is not: {told}")
        return SEEN if counted else NOT_SEEN
    if there:
        raise Unproven(f"{way.key} was refused, and yet is there: {told}")
    if not counted:
        raise Unproven(f"{way.key} was refused by something else: {told}")
    return STOPPED
