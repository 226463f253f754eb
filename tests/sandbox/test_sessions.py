"""Sessions: one owner, one task at a time, and an end that is told."""

import pytest

from app.kernel.errors import AppError, Code
from app.sandbox.links import Room
from app.sandbox.sessions import Session, SessionPlan, Sessions, Terms
from tests.manual_clock import ManualClock
from tests.sandbox.waiting import PlayedWorker

pytestmark = pytest.mark.anyio

PLAN = SessionPlan(most=3, per_owner=2, idle_s=600, lease_s=3600)
TERMS = Terms()
Played = Session[PlayedWorker]


async def _kill(worker: PlayedWorker) -> None:
    await worker.kill()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def sessions(clock: ManualClock) -> Sessions[PlayedWorker]:
    return Sessions(PLAN, clock, _kill)


async def used(
    sessions: Sessions[PlayedWorker], name: str, owner: str = "alice", ended: str | None = None
) -> Played:
    """A session that has run a task."""
    session = await sessions.enter(owner, name, TERMS)
    session.worker = session.worker or PlayedWorker(Room())
    await sessions.leave(session, ended)
    return session


async def refused(sessions: Sessions[PlayedWorker], name: str, owner: str = "alice") -> AppError:
    with pytest.raises(AppError) as caught:
        await sessions.enter(owner, name, TERMS)
    return caught.value


async def test_the_next_task_finds_the_worker_of_the_last(
    sessions: Sessions[PlayedWorker],
) -> None:
    first = await used(sessions, "a")
    again = await sessions.enter("alice", "a", TERMS)
    assert again is first
    assert again.worker is first.worker


async def test_owners_have_sessions_of_their_own(sessions: Sessions[PlayedWorker]) -> None:
    assert await used(sessions, "a", "alice") is not await used(sessions, "a", "bob")


async def test_one_task_at_a_time(sessions: Sessions[PlayedWorker]) -> None:
    session = await sessions.enter("alice", "a", TERMS)
    error = await refused(sessions, "a")
    assert (error.code, error.is_retryable) == (Code.SANDBOX_SESSION_BUSY, True)
    await sessions.leave(session)
    await sessions.enter("alice", "a", TERMS)


@pytest.mark.parametrize(
    "asked", [Terms(frozenset({"x"})), Terms(frozenset({"x", "y"})), Terms(is_open=True)]
)
async def test_a_task_cannot_ask_for_more_than_it_began_with(
    sessions: Sessions[PlayedWorker], asked: Terms
) -> None:
    await used(sessions, "a")
    with pytest.raises(AppError) as caught:
        await sessions.enter("alice", "a", asked)
    assert caught.value.code is Code.INVALID_INPUT
    assert (await used(sessions, "a")).worker is not None
    session = await sessions.enter("alice", "b", Terms(frozenset({"x", "y"}), is_open=True))
    session.worker = PlayedWorker(Room())
    await sessions.leave(session)
    assert await sessions.enter("alice", "b", asked) is session


async def test_one_whose_worker_died_has_ended(sessions: Sessions[PlayedWorker]) -> None:
    session = await used(sessions, "a")
    assert session.worker is not None
    session.worker.is_alive = False
    assert (await refused(sessions, "a")).code is Code.SANDBOX_SESSION_ENDED


@pytest.mark.parametrize(("seconds", "why"), [(600.0, "not used"), (3600.0, "open for")])
async def test_it_ends_when_its_time_is_over(
    sessions: Sessions[PlayedWorker], clock: ManualClock, seconds: float, why: str
) -> None:
    session = await used(sessions, "a")
    for _ in range(int(seconds // 500)):
        clock.advance(500)
        await used(sessions, "a")
    clock.advance(seconds % 500 if why == "open for" else seconds)
    error = await refused(sessions, "a")
    assert error.code is Code.SANDBOX_SESSION_ENDED
    assert why in error.message
    assert error.hint
    assert session.worker is not None
    assert session.worker.kills == 1
    await used(sessions, "another")


async def test_a_running_task_is_let_finish(
    sessions: Sessions[PlayedWorker], clock: ManualClock
) -> None:
    session = await sessions.enter("alice", "a", TERMS)
    session.worker = PlayedWorker(Room())
    clock.advance(10_000)
    await sessions.tend()
    assert session.worker.is_alive
    await sessions.leave(session)
    assert (await used(sessions, "b")).worker is not session.worker


async def test_why_it_ended_is_told(sessions: Sessions[PlayedWorker]) -> None:
    await used(sessions, "a", ended="its last task ended as timeout")
    assert "timeout" in (await refused(sessions, "a")).message


async def test_one_that_never_began_leaves_no_trace(sessions: Sessions[PlayedWorker]) -> None:
    session = await sessions.enter("alice", "a", TERMS)
    await sessions.leave(session, "it never began")
    assert (await used(sessions, "a")) is not session


async def test_a_users_newest_takes_the_place_of_the_longest_unused(
    sessions: Sessions[PlayedWorker], clock: ManualClock
) -> None:
    for name in ("a", "b"):
        await used(sessions, name)
        clock.advance(1)
    await used(sessions, "a")
    await used(sessions, "c")
    assert (await refused(sessions, "b")).code is Code.SANDBOX_SESSION_ENDED
    await used(sessions, "a")
    assert len(sessions) == 2


async def test_sessions_that_run_make_no_way(sessions: Sessions[PlayedWorker]) -> None:
    for name in ("a", "b"):
        await sessions.enter("alice", name, TERMS)
    error = await refused(sessions, "c")
    assert error.code is Code.SANDBOX_SESSION_BUSY
    assert "at most 2" in str(error.hint)


async def test_nobody_takes_the_place_of_others(sessions: Sessions[PlayedWorker]) -> None:
    for name, owner in (("a", "alice"), ("b", "alice"), ("a", "bob")):
        await used(sessions, name, owner)
    assert (await refused(sessions, "a", "carol")).code is Code.SANDBOX_SESSION_BUSY
    assert (await used(sessions, "c", "alice")).worker is not None
    assert len(sessions) == 3


async def test_at_its_end_none_is_left(sessions: Sessions[PlayedWorker]) -> None:
    workers = [(await used(sessions, name)).worker for name in ("a", "b")]
    await sessions.close()
    assert [worker.kills for worker in workers if worker] == [1, 1]
    assert len(sessions) == 0


async def test_only_so_many_endings_are_remembered(
    sessions: Sessions[PlayedWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.sandbox.sessions._REMEMBERED", 2)
    for name in ("a", "b", "c"):
        await used(sessions, name, ended="over")
    assert (await refused(sessions, "c")).code is Code.SANDBOX_SESSION_ENDED
    await used(sessions, "a")
