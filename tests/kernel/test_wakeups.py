"""What a process remembers of topics."""

import pytest

from app.kernel.wakeups import Wakeups

pytestmark = pytest.mark.anyio


async def test_a_topic_whose_ticket_was_given_up_is_forgotten() -> None:
    wakeups = Wakeups(None)
    for number in range(10_000):
        wakeups.ticket(f"job:{number}")
    assert not wakeups.has_followers
    assert len(wakeups._tickets) < 1000


async def test_a_ticket_that_is_held_outlives_those_given_up() -> None:
    wakeups = Wakeups(None)
    held = wakeups.ticket("job:held")
    for number in range(1000):
        wakeups.ticket(f"job:{number}")
    assert wakeups.has_followers
    wakeups.wake("job:held")
    assert await wakeups.wait(held, 0.1)
