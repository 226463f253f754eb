"""Workers that wait: each is used once, and nobody ever waits for one."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from app.kernel.metrics import Metrics
from app.sandbox.links import Room
from app.sandbox.pool import Pool, PoolPlan, Wanted
from app.sandbox.types import IsolationError
from tests.manual_clock import ManualClock
from tests.sandbox.waiting import PlayedPlace, PlayedWorker

pytestmark = pytest.mark.anyio

MIB = 2**20
EMPTY = Wanted("empty", Room(), 10 * MIB)
SCIENCE = Wanted("science", Room(imports=("numpy",)), 60 * MIB)
PLAN = PoolPlan(least=2, most=4, memory_bytes=1000 * MIB)

Make = Callable[..., Pool[PlayedWorker]]


@pytest.fixture
def place() -> PlayedPlace:
    return PlayedPlace()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def make(
    place: PlayedPlace, clock: ManualClock, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Make]:
    # its keeper looks when it opens; after that the tests say when
    monkeypatch.setattr("app.sandbox.pool.service._TEND_S", 3600)
    pools: list[Pool[PlayedWorker]] = []

    def made(plan: PoolPlan = PLAN) -> Pool[PlayedWorker]:
        pools.append(Pool(place.start, place.ask_image, plan, clock, metrics))
        return pools[-1]

    yield made
    for pool in pools:
        await pool.close()
    assert [worker for worker in place.alive() if worker not in _leased] == []
    _leased.clear()


_leased: list[PlayedWorker] = []


def leased(pool: Pool[PlayedWorker], wanted: Wanted = EMPTY) -> PlayedWorker | None:
    worker = pool.lease(wanted)
    if worker is not None:
        _leased.append(worker)
    return worker


async def test_it_fills_behind_the_scenes(make: Make, place: PlayedPlace) -> None:
    pool = make()
    pool.open([EMPTY, SCIENCE])
    assert pool.lease(EMPTY) is None
    await pool.settle()
    assert pool.waiting() == {"empty": 3, "science": 2}
    assert {worker.room for worker in place.made} == {EMPTY.room, SCIENCE.room}


async def test_a_worker_is_leased_once(make: Make, place: PlayedPlace) -> None:
    pool = make()
    pool.open([EMPTY])
    await pool.settle()
    first, second = leased(pool), leased(pool)
    assert first is not second
    assert first is not None
    await pool.settle()
    others = [leased(pool) for _ in range(3)]
    assert first not in others
    assert first.kills == 0


async def test_an_empty_pool_says_so_at_once(make: Make, place: PlayedPlace) -> None:
    place.gate = asyncio.Event()
    pool = make()
    pool.open([EMPTY])
    await pool.tend()
    assert pool.lease(EMPTY) is None
    place.gate.set()
    await pool.settle()
    assert leased(pool) is not None


async def test_a_task_has_the_processors_before_the_making_of_another_worker(
    make: Make, place: PlayedPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make()
    pool.open([EMPTY])
    await pool.settle()
    monkeypatch.setattr("app.sandbox.pool.service._HOLD_BACK_S", 3600)
    assert leased(pool) is not None
    for _ in range(3):
        await asyncio.sleep(0)
    assert (len(place.made), place.making) == (2, 0)
    monkeypatch.setattr("app.sandbox.pool.service._HOLD_BACK_S", 0)
    assert leased(pool) is not None
    async with asyncio.timeout(60):
        while pool.waiting()["empty"] < PLAN.least:
            await asyncio.sleep(0)


async def test_refills_are_few_at_once(make: Make, place: PlayedPlace) -> None:
    pool = make(PoolPlan(least=4, most=8, memory_bytes=1000 * MIB, refills=2))
    pool.open([SCIENCE])
    await pool.settle()
    assert len(place.made) == 4
    assert place.most_at_once == 2


async def test_slow_imports_hold_up_no_other_room(make: Make, place: PlayedPlace) -> None:
    place.gate = asyncio.Event()
    place.gated = SCIENCE.room
    pool = make()
    pool.open([SCIENCE, EMPTY])
    async with asyncio.timeout(60):
        while pool.waiting() != {"science": 0, "empty": 2}:
            await pool.tend()
            await asyncio.sleep(0)
    place.gate.set()
    await pool.settle()
    assert pool.waiting() == {"science": 2, "empty": 2}


async def test_it_grows_with_the_arrivals_and_shrinks_again(
    make: Make, place: PlayedPlace, clock: ManualClock
) -> None:
    pool = make(PoolPlan(least=1, most=5, memory_bytes=1000 * MIB))
    pool.open([EMPTY])
    await pool.settle()
    assert pool.waiting() == {"empty": 1}
    for _ in range(300):
        leased(pool)
    await pool.settle()
    grown = pool.waiting()["empty"]
    assert 1 < grown <= 5
    clock.advance(300)
    await pool.settle()
    assert pool.waiting() == {"empty": 1}


async def test_what_waited_too_long_is_replaced(
    make: Make, place: PlayedPlace, clock: ManualClock
) -> None:
    pool = make()
    pool.open([EMPTY])
    await pool.settle()
    before = place.alive()
    clock.advance(PLAN.idle_s - 1)
    await pool.settle()
    assert place.alive() == before
    clock.advance(1)
    await pool.settle()
    assert [worker.kills for worker in before] == [1, 1]
    assert len(place.alive()) == 2
    assert not set(before) & set(place.alive())


async def test_a_new_image_replaces_every_worker(make: Make, place: PlayedPlace) -> None:
    pool = make()
    pool.open([EMPTY])
    await pool.settle()
    before, place.image = place.alive(), "two"
    await pool.settle()
    assert [worker.is_alive for worker in before] == [False, False]
    assert leased(pool) not in before


async def test_a_dead_worker_is_never_leased(make: Make, place: PlayedPlace) -> None:
    pool = make()
    pool.open([EMPTY])
    await pool.settle()
    dead, other = place.alive()
    dead.is_alive = False
    assert leased(pool) is other
    await pool.settle()
    assert pool.waiting()["empty"] >= 2
    place.alive()[-1].is_alive = False
    await pool.settle()
    assert all(worker.is_alive for worker in (leased(pool), leased(pool)) if worker)


async def test_waiting_workers_take_a_bounded_part_of_the_memory(
    make: Make, place: PlayedPlace
) -> None:
    pool = make(PoolPlan(least=4, most=8, memory_bytes=100 * MIB))
    pool.open([EMPTY, SCIENCE])
    await pool.settle()
    waiting = pool.waiting()
    assert waiting["science"] == 1
    assert waiting["empty"] == 4


async def test_a_room_nobody_keeps_filled_is_warm_once_it_was_asked_for(
    make: Make, place: PlayedPlace, clock: ManualClock
) -> None:
    layer = Wanted("layer", Room(sites=("/opt/layers/x",)), 10 * MIB)
    pool = make()
    pool.open([EMPTY])
    assert pool.lease(layer) is None
    await pool.settle()
    worker = leased(pool, layer)
    assert worker is not None
    assert worker.room == layer.room
    await pool.settle()
    clock.advance(PLAN.idle_s)
    await pool.settle()
    assert "layer" not in pool.waiting()


async def test_what_one_asked_for_leaves_room_for_what_all_share(
    make: Make, place: PlayedPlace, clock: ManualClock
) -> None:
    pool = make(PoolPlan(least=2, most=4, memory_bytes=150 * MIB))
    place.gate, place.gated = asyncio.Event(), SCIENCE.room
    pool.open([SCIENCE])
    for number in range(9):
        pool.lease(Wanted("layer", Room(sites=(f"/opt/layers/{number}",)), 10 * MIB))
    await pool.tend()
    place.gate.set()
    await pool.settle()
    assert pool.waiting() == {"science": 2, "layer": 3}


async def test_a_place_that_fails_is_tried_again_later(
    make: Make, place: PlayedPlace, clock: ManualClock
) -> None:
    place.fault = OSError("no more processes")
    pool = make()
    pool.open([EMPTY])
    await pool.settle()
    assert pool.lease(EMPTY) is None
    place.fault = None
    await pool.settle()
    assert place.made == []
    clock.advance(60)
    await pool.settle()
    assert leased(pool) is not None


async def test_an_image_that_cannot_be_asked_for_stops_nothing(
    make: Make, place: PlayedPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make()
    pool.open([EMPTY])
    await pool.settle()

    async def gone() -> str:
        raise IsolationError("gone", "start it")

    monkeypatch.setattr(pool, "_ask_image", gone)
    await pool.settle()
    assert leased(pool) is not None


async def test_at_its_end_nothing_is_left(make: Make, place: PlayedPlace) -> None:
    place.gate = asyncio.Event()
    pool = make()
    pool.open([EMPTY])
    await pool.tend()
    closing = asyncio.create_task(pool.close())
    await asyncio.sleep(0)
    place.gate.set()
    await closing
    assert place.alive() == []
    assert pool.lease(EMPTY) is None


async def test_without_a_size_there_is_no_pool(make: Make, place: PlayedPlace) -> None:
    pool = make(PoolPlan(least=0, most=0))
    pool.open([EMPTY])
    assert pool.lease(EMPTY) is None
    await pool.settle()
    assert place.made == []


async def test_metrics_tell_of_leases_sizes_and_refills(
    make: Make, place: PlayedPlace, metrics: Metrics
) -> None:
    pool = make()
    pool.open([EMPTY])
    pool.lease(EMPTY)
    await pool.settle()
    leased(pool)
    text = metrics.render().decode()
    assert 'sandbox_leases_total{outcome="cold",room="empty"} 1.0' in text
    assert 'sandbox_leases_total{outcome="warm",room="empty"} 1.0' in text
    assert 'sandbox_waiting{room="empty"}' in text
    assert 'sandbox_refill_seconds_count{room="empty"} 3.0' in text
