"""The outbox and the audit log on a real database."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from app.kernel import audit
from app.kernel.db import Database
from app.kernel.outbox import Event, Handler, Relay, publish
from app.kernel.principal import SERVICE, USER_SCOPES, Principal
from app.kernel.uow import UnitOfWork
from tests.isolation import assert_isolated

pytestmark = pytest.mark.anyio
STRANGER = Principal("user", UUID(int=1), scopes=USER_SCOPES)


async def state(database: Database, event: Event) -> Any:
    sql = """
    select attempts, done_at is not null as is_done, last_error, available_at
    from app.outbox where event_id = :event_id
    """
    async with database.begin(SERVICE) as uow:
        return (await uow.execute(sql, {"event_id": event.event_id})).one()


async def say(database: Database, name: str = "job.done", **payload: object) -> Event:
    event = Event(name, payload)
    async with database.begin(SERVICE) as uow:
        await publish(uow, event)
    return event


async def assert_put_off(database: Database, running: Relay, event: Event, wait_s: int) -> None:
    """Nothing is delivered, and the event is due so many seconds later, by the database's clock."""
    began = await moment(database)
    assert await running.run_once() == 0
    wait, due = timedelta(seconds=wait_s), (await state(database, event)).available_at
    assert began + wait <= due <= await moment(database) + wait


async def moment(database: Database) -> datetime:
    async with database.begin(SERVICE) as uow:
        found: datetime = (await uow.execute("select now()")).scalar_one()
    return found


async def make_due(database: Database) -> None:
    async with database.begin(SERVICE) as uow:
        await uow.execute("update app.outbox set available_at = now()")


class Listener:
    """A handler that records what it got and writes one audit entry, then fails if told to."""

    def __init__(self, failures: int = 0) -> None:
        self.heard: list[dict[str, Any]] = []
        self.failures = failures

    async def __call__(self, uow: UnitOfWork, payload: dict[str, Any]) -> None:
        self.heard.append(payload)
        await audit.record(uow, "heard", "event", {"number": payload.get("number")})
        if self.failures:
            self.failures -= 1
            raise RuntimeError("cannot reach postgresql://app:s3cret@db/x")


def relay(database: Database, handlers: Mapping[str, Handler], **options: float) -> Relay:
    return Relay(database, handlers, **options)


async def entries(database: Database) -> int:
    async with database.begin(SERVICE) as uow:
        return int((await uow.execute("select count(*) from app.audit_log")).scalar_one())


async def test_a_fact_reaches_its_handler_once(database: Database) -> None:
    listener = Listener()
    event = await say(database, number=1)
    running = relay(database, {"job.done": listener})
    assert await running.run_once() == 1
    assert await running.run_once() == 0
    assert listener.heard == [{"number": 1, "event_id": str(event.event_id)}]
    assert (await state(database, event)).is_done
    assert await entries(database) == 1


async def test_a_fact_of_a_transaction_that_failed_is_never_told(database: Database) -> None:
    listener = Listener()

    async def fail() -> None:
        async with database.begin(SERVICE) as uow:
            await publish(uow, Event("job.done", {}))
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    assert await relay(database, {"job.done": listener}).run_once() == 0
    assert listener.heard == []


async def test_facts_are_told_in_the_order_they_were_stated(database: Database) -> None:
    listener = Listener()
    for number in range(5):
        await say(database, number=number)
    running = relay(database, {"job.done": listener})
    assert await running.run_once(limit=2) == 2
    assert await running.run_once() == 3
    assert [payload["number"] for payload in listener.heard] == [0, 1, 2, 3, 4]


async def test_a_failing_handler_leaves_nothing_and_is_called_again(database: Database) -> None:
    listener = Listener(failures=2)
    event = await say(database)
    running = relay(database, {"job.done": listener}, backoff_s=1000)
    await assert_put_off(database, running, event, 1000)
    after = await state(database, event)
    assert (after.attempts, after.is_done) == (1, False)
    assert after.last_error == "RuntimeError: cannot reach postgresql://app:***@db/x"
    assert await entries(database) == 0
    assert await running.run_once() == 0
    assert len(listener.heard) == 1
    await make_due(database)
    await assert_put_off(database, running, event, 2000)
    await make_due(database)
    assert await running.run_once() == 1
    assert await entries(database) == 1
    assert (await state(database, event)).last_error is None


async def test_one_failure_does_not_hold_up_the_others(database: Database) -> None:
    broken, listener = Listener(failures=1), Listener()
    await say(database, "a.broke")
    await say(database, "b.done")
    assert await relay(database, {"a.broke": broken, "b.done": listener}).run_once() == 1
    assert len(listener.heard) == 1


async def test_the_wait_between_attempts_is_bounded(database: Database) -> None:
    event = await say(database)
    async with database.begin(SERVICE) as uow:
        await uow.execute("update app.outbox set attempts = 1000000")
    running = relay(database, {"job.done": Listener(failures=1)}, longest_backoff_s=50)
    await assert_put_off(database, running, event, 50)


async def test_a_fact_nobody_handles_waits_for_who_does(database: Database) -> None:
    event = await say(database, "new.fact")
    assert await relay(database, {}).run_once() == 0
    after = await state(database, event)
    assert not after.is_done
    assert "no handler for 'new.fact'" in after.last_error
    await make_due(database)
    assert await relay(database, {"new.fact": Listener()}).run_once() == 1


async def test_what_a_dead_relay_claimed_is_told_by_another(database: Database) -> None:
    event = await say(database)
    dead = relay(database, {})
    assert [claimed.event_id for claimed, _ in await dead._claim(10)] == [event.event_id]
    alive = relay(database, {"job.done": Listener()})
    assert await alive.run_once() == 0
    await make_due(database)
    assert await alive.run_once() == 1
    assert (await state(database, event)).attempts == 2


async def test_a_relay_that_lost_its_claim_tells_nothing(database: Database) -> None:
    slow_listener, listener = Listener(), Listener()
    await say(database)
    slow = relay(database, {"job.done": slow_listener})
    ((event, attempt),) = await slow._claim(10)
    await make_due(database)
    assert await relay(database, {"job.done": listener}).run_once() == 1
    assert not await slow._deliver(event, attempt)
    await slow._fail(event, attempt, RuntimeError("late"))
    assert slow_listener.heard == []
    assert (await state(database, event)).last_error is None


async def test_two_relays_do_not_tell_one_fact_at_once(database: Database) -> None:
    inner = Listener()
    other = relay(database, {"job.done": inner})

    async def run_another(uow: UnitOfWork, payload: dict[str, Any]) -> None:
        assert await other.run_once() == 0

    await say(database)
    # The lease is over at once, so only the row's lock stands between the two.
    assert await relay(database, {"job.done": run_another}, lease_s=0).run_once() == 1
    assert inner.heard == []


async def test_the_audit_log_says_who_acted(database: Database) -> None:
    user, key = UUID(int=2), UUID(int=3)
    async with database.begin(SERVICE) as uow:
        await audit.record(uow, "a", "s", {})
    async with database.begin(Principal("service", user)) as uow:
        await audit.record(uow, "b", "s", {"x": 1})
    async with database.begin(Principal("service", user, key_id=key)) as uow:
        await audit.record(uow, "c", "s", {})
        found = (await uow.execute("select * from app.audit_log order by entry_id")).all()
    assert [(row.action, row.user_id, row.actor) for row in found] == [
        ("a", None, "platform"),
        ("b", user, f"user:{user}"),
        ("c", user, f"key:{key}"),
    ]
    assert found[1].details == {"x": 1}


@pytest.mark.parametrize("table", ["outbox", "audit_log"])
async def test_no_user_reads_or_writes_them(database: Database, table: str) -> None:
    await say(database)
    async with database.begin(STRANGER.elevated()) as uow:
        await audit.record(uow, "a", "s", {})
    await assert_isolated(database, table, stranger=STRANGER, owner=None)
