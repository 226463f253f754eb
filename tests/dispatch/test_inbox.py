"""What a worker was told and has not claimed: bounded, never lost, acknowledged once."""

import asyncio

import pytest

from app.kernel.errors import AppError, Code
from app.kernel.ids import new_id
from app.kernel.redisclient import addresses
from app.orchestration.dispatch import PostgresDispatcher
from app.orchestration.dispatch.inbox import Inbox, Message

pytestmark = pytest.mark.anyio
IDS = [new_id() for _ in range(6)]


def test_it_wants_what_the_lane_has_room_for() -> None:
    inbox = Inbox()
    assert inbox.wanted == 0
    assert inbox.take(4) == []
    assert inbox.wanted == 4
    inbox.add([Message(0, b"1", IDS[:3])])
    assert inbox.wanted == 1
    inbox.add([Message(0, b"2", IDS[3:])])
    assert inbox.wanted == 0
    assert inbox.take(4) == IDS[:4]


async def test_it_has_no_room_until_asked() -> None:
    inbox = Inbox()
    waiting = asyncio.create_task(inbox.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    inbox.take(2)
    assert await waiting == 2


def test_what_was_not_claimed_is_given_again_first() -> None:
    inbox = Inbox()
    inbox.add([Message(0, b"1", IDS)])
    assert inbox.take(2) == IDS[:2]
    assert sorted(inbox.take(4)) == sorted(IDS[:4])
    inbox.done(IDS[:4])
    assert inbox.take(4) == IDS[4:]


def test_a_message_is_over_when_all_its_jobs_are() -> None:
    inbox, message = Inbox(), Message(0, b"1", IDS[:2])
    inbox.add([message])
    inbox.take(2)
    assert inbox.done(IDS[:1]) == []
    assert inbox.done(IDS[:1]) == []
    assert inbox.done(IDS[1:2]) == [message]


def test_a_job_told_twice_is_given_once_and_ends_both_messages() -> None:
    inbox, messages = Inbox(), [Message(0, b"1", IDS[:1]), Message(1, b"2", IDS[:1])]
    inbox.add(messages)
    assert inbox.take(5) == IDS[:1]
    assert inbox.done(IDS[:1]) == messages


def test_dropped_is_forgotten_and_over() -> None:
    inbox, message = Inbox(), Message(0, b"1", IDS)
    inbox.add([message])
    inbox.take(2)
    assert inbox.drop(9) == [message]
    assert (inbox.take(9), inbox.wanted) == ([], 9)


def test_the_default_leaves_the_choice_to_the_claim() -> None:
    dispatcher = PostgresDispatcher()
    assert dispatcher.take("tool", 5) is None
    dispatcher.done(IDS)
    assert dispatcher.state().is_up


def test_addresses() -> None:
    assert addresses("redis://a,b:7000") == (
        [("a", 6379), ("b", 7000)],
        {"username": None, "password": None, "ssl": False},
    )
    assert addresses("rediss://me:p%40ss@a:1, rediss://b:2") == (
        [("a", 1), ("b", 2)],
        {"username": "me", "password": "p@ss", "ssl": True},
    )


@pytest.mark.parametrize("url", ["", "a:1", "http://a", "redis://", "redis://a:x", "redis://a,"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(AppError) as raised:
        addresses(url)
    assert raised.value.code is Code.INVALID_INPUT
    assert raised.value.hint
