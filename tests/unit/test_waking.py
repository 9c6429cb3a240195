"""Who sleeps is woken: by a bell, by records that an agent's own thread puts, by a policy's file that is written to its end."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from enforcer import abi
from enforcer.edges.bell import Bell, await_any
from enforcer.edges.inotify import News, around
from enforcer.runtime.queue import Joined, Queue
from enforcer.runtime.supervisor import Supervisor


def rung(descriptors: tuple[int, ...]) -> bool:
    """Whether who waits for these would be woken now."""
    return bool(await_any(descriptors, 0))


def test_a_bell_stays_rung_until_it_is_hushed() -> None:
    """Rung twice it is hushed once."""
    bell = Bell()
    assert not rung((bell.fileno(),))
    bell.ring()
    bell.ring()
    assert rung((bell.fileno(),))
    bell.hush()
    bell.hush()
    assert not rung((bell.fileno(),))
    bell.close()


def test_a_queue_rings_as_long_as_it_holds_something() -> None:
    """A reader that takes a part, or that stops in the middle, is woken for the rest."""
    queue = Queue()
    for _ in range(3):
        assert queue.put(abi.CEvent())
    assert len(list(queue.read(1))) == 1
    assert rung(queue.descriptors)
    reading = queue.read(2)
    next(reading)
    reading.close()
    assert rung(queue.descriptors)
    assert len(list(queue.read(9))) == 1
    assert not rung(queue.descriptors)
    queue.close()


def test_what_is_joined_rings_for_both() -> None:
    """And a reader whom the first fills is woken for the second."""
    one, other = Queue(), Queue()
    joined = Joined(one, other)
    assert len(joined.descriptors) == 2
    one.put(abi.CEvent())
    other.put(abi.CEvent())
    assert len(list(joined.read(1))) == 1
    assert rung(joined.descriptors)
    assert len(list(joined.read(1))) == 1
    assert not rung(joined.descriptors)
    joined.close()


def test_a_file_that_is_replaced_is_news(tmp_path: Path) -> None:
    """Written to its end, renamed over, or reached by a link that now leads elsewhere, as configuration managers do it."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    for place in ("one", "two"):
        (tmp_path / place / "policy.yaml").write_text("version: 1\n")
    (tmp_path / "current").symlink_to("one")
    policy = tmp_path / "policy.yaml"
    policy.symlink_to("current/policy.yaml")
    news, places = News(), around(policy)
    news.wait(places, 0)

    def changed() -> bool:
        found = rung((news._fd,))
        news.wait(around(policy), 0)
        return found

    assert not changed()
    (tmp_path / "one" / "policy.yaml").write_text("version: 1 \n")
    assert changed()
    (tmp_path / "new").symlink_to("two")
    os.replace(tmp_path / "new", tmp_path / "current")
    assert changed()
    assert not changed()
    news.close()


def test_the_end_wakes_every_loop() -> None:
    """One that waits for a descriptor ends as soon as one that waits for the end itself; a failure is told of."""
    bell, failed = Bell(), threading.Event()
    supervisor = Supervisor(failed.set)
    supervisor.follow(
        "sleeper", lambda stopped: [await_any((bell.fileno(),)) for _ in iter(lambda: stopped(0), True)], bell.ring
    )

    def fail() -> None:
        raise RuntimeError("as a test wants it")

    supervisor.start("failing", fail)
    assert failed.wait(30)
    supervisor.stop()
    assert isinstance(supervisor.failure, RuntimeError)
    assert not any(thread.is_alive() for thread in supervisor._threads)
    bell.close()
