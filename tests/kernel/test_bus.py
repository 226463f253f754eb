"""Standing subscriptions to wake-ups in one process; between two: tests/dispatch/test_bus.py."""

import pytest

from app.kernel.bus import Bus
from app.kernel.wakeups import Wakeups

pytestmark = pytest.mark.anyio


async def test_each_listener_hears_of_its_topic_until_it_leaves() -> None:
    wakeups, heard = Wakeups(None), []
    bus = Bus(wakeups)
    leave = bus.subscribe("a", lambda: heard.append("first"))
    also = bus.subscribe("a", lambda: heard.append("second"))
    bus.subscribe("b", lambda: heard.append("other"))
    wakeups.wake("a")
    assert heard == ["first", "second"]
    leave()
    leave()
    wakeups.wake("a")
    wakeups.wake("c")
    assert heard == ["first", "second", "second"]
    also()
    wakeups.wake("a")
    wakeups.wake("b")
    assert heard[3:] == ["other"]


async def test_a_bus_without_listeners_observes_nothing() -> None:
    wakeups = Wakeups(None)
    leave = Bus(wakeups).subscribe("a", lambda: None)
    assert wakeups.has_followers
    leave()
    assert not wakeups.has_followers


async def test_a_listener_may_leave_while_it_is_called() -> None:
    wakeups, heard = Wakeups(None), []
    bus = Bus(wakeups)

    def once() -> None:
        heard.append("once")
        leave()

    leave = bus.subscribe("a", once)
    bus.subscribe("a", lambda: heard.append("always"))
    for _ in range(2):
        wakeups.wake("a")
    assert heard == ["once", "always", "always"]


async def test_every_listener_is_called_once_after_a_gap() -> None:
    wakeups, heard = Wakeups(None), []
    bus = Bus(wakeups)
    bus.subscribe("a", lambda: heard.append("a"))
    leave = bus.subscribe("b", lambda: heard.append("b"))
    bus.subscribe("c", lambda: heard.append("c"))
    leave()
    ticket = wakeups.ticket("d")
    wakeups._missed()
    assert heard == ["a", "c"]
    assert await wakeups.wait(ticket, 0)
