"""The whole of the queue and the ledger, simulated: seeds, faults, and promises that hold."""

import hashlib
import logging
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from app.billing import Settlement
from app.orchestration import Lease, Lifecycle
from app.orchestration.types import End, Ended
from tests.faults.summary import SECONDS, record
from tests.simulation import stores
from tests.simulation.loop import StuckError, simulate
from tests.simulation.memory import BrokenPromiseError, MemoryUnit
from tests.simulation.world import Odds, World, seeded

FIRST_SEED = int(os.environ.get("UAOL_SIMULATION_SEED", "1"))
JOBS = 400
STEPS = 1_000_000 if SECONDS else 150_000
CANCELS = 10_000
pytestmark = pytest.mark.timeout(120 + SECONDS)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Warnings of a world in which everything goes wrong are no news."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def run(seed: int, odds: Odds, jobs: int = JOBS, **mutants: Any) -> World:
    """One world to its end; a failure names the seed that replays it."""

    async def live() -> World:
        world = World(seed, odds)
        await world.run(jobs)
        return world

    try:
        with stores.installed(**mutants), seeded(seed):
            return simulate(live())
    except (BrokenPromiseError, StuckError) as error:
        error.add_note(f"replay: UAOL_SIMULATION_SEED={seed} pytest tests/simulation")
        raise


def fingerprint(world: World) -> str:
    rows = [
        (str(job_id), job.status, job.attempt, str(job.end_time), str(job.output))
        for job_id, job in world.memory.jobs.items()
    ]
    return hashlib.sha256(repr((world.steps, rows)).encode()).hexdigest()


def test_promises_hold_whatever_goes_wrong() -> None:
    seed = FIRST_SEED
    steps = jobs = commits = 0
    told: dict[str, int] = {}
    while steps < STEPS:
        odds = random.Random(seed).choice(
            [Odds(), Odds(chaos_s=5.0), Odds(lose_wakeup=1.0), Odds(abort=0.03, lose_answer=0.05)]
        )
        world = run(seed, odds)
        steps, jobs = steps + world.steps, jobs + len(world.memory.jobs)
        commits += world.memory.commits
        for name, times in world.told.items():
            told[name] = told.get(name, 0) + times
        seed += 1
    assert {"crash", "freeze", "stop"} <= told.keys()
    record("simulation", steps=steps, seeds=seed - FIRST_SEED, jobs=jobs, commits=commits, **told)


def test_ten_thousand_cancels_race_everything_else() -> None:
    cancels, seed, told = 0, FIRST_SEED + 10_000, dict[str, int]()
    while cancels < CANCELS:
        world = run(seed, Odds(cancel=1.0, chaos_s=8.0), jobs=2000)
        for name, times in world.told.items():
            if name.startswith("cancel: "):
                told[name] = told.get(name, 0) + times
                cancels += times
        seed += 1
    assert {"cancel: Cancelled", "cancel: Running", "cancel: job_finished"} <= told.keys()
    record("cancel_races_simulated", races=cancels, **told)


def test_a_seed_replays_its_run() -> None:
    odds = Odds(chaos_s=5.0)
    assert fingerprint(run(7, odds)) == fingerprint(run(7, odds))
    assert fingerprint(run(7, odds)) != fingerprint(run(8, odds))


# --- the checker can fail: mutants of the product and of its store


async def forgets_the_token(uow: MemoryUnit, ends: Sequence[End]) -> list[Ended]:
    """A completion that takes whatever row has the job's id."""
    held = [end for end in ends if end.lease.job_id in uow.memory.queue]
    newest = [uow.memory.queue[end.lease.job_id].attempt for end in held]
    leases = [
        Lease(end.lease.job, attempt, 0, False) for end, attempt in zip(held, newest, strict=True)
    ]
    return await stores.complete(
        uow,
        [
            End(lease, end.status, end.output, end.error)
            for lease, end in zip(leases, held, strict=True)
        ],
    )


async def captures_twice(uow: MemoryUnit, ends: Sequence[Settlement]) -> set[UUID]:
    done = await stores.settle(uow, ends)
    for end in ends:
        user = uow.memory.holds[end.hold_id].user_id
        stores.move(uow, user, captured=end.captured_micro, available=-end.captured_micro)
    return done


async def takes_live_leases(uow: MemoryUnit, *given: Any, **named: Any) -> Any:
    await uow.write()
    for job_id, row in list(uow.memory.queue.items()):
        if row.lease_until is not None and uow.memory.clock() % 1 < 0.5:
            uow.put("queue", job_id, replace(row, lease_until=None))
    return await stores.claim(uow, *given, **named)


async def never_stages(uow: MemoryUnit, limit: int) -> tuple[int, float | None]:
    await uow.read()
    return 0, None


async def forgets_keys(uow: MemoryUnit, keys: Sequence[tuple[UUID, str, UUID, bytes]]) -> set[UUID]:
    await uow.write()
    return {job_id for _, _, job_id, _ in keys}


async def holds_beyond_the_wallet(uow: MemoryUnit, holds: Any) -> set[UUID]:
    await uow.write()
    for hold in holds:
        uow.put("holds", hold.hold_id, hold)
        stores.move(uow, hold.user_id, available=-hold.amount_micro, held=hold.amount_micro)
    return {hold.hold_id for hold in holds}


MUTANTS: dict[str, dict[str, Any]] = {
    "no fencing": {"complete": forgets_the_token},
    "captured twice": {"settle": captures_twice},
    "live leases taken": {"claim": takes_live_leases},
    "nothing staged": {"stage": never_stages},
    "keys forgotten": {"take_keys": forgets_keys},
    "credit given": {"place_holds": holds_beyond_the_wallet},
}


def run_some(**mutants: Any) -> None:
    for seed in range(100, 112):
        run(seed, Odds(chaos_s=4.0), **mutants)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_of_the_store_is_caught(name: str) -> None:
    with pytest.raises(BrokenPromiseError):
        run_some(**MUTANTS[name])


async def settles_the_stale_too(self: Any, uow: Any, ends: Sequence[End]) -> set[UUID]:
    await self._billing.settle_many(
        uow,
        [
            Settlement(
                end.lease.job_id,
                "captured" if end.status == "Success" else "released",
                end.charged_micro,
            )
            for end in ends
        ],
    )
    return await _finish_many(self, uow, ends)


_finish_many = Lifecycle.finish_many


def test_a_mutant_of_the_product_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credits of late ends move although their tokens are stale."""
    monkeypatch.setattr(Lifecycle, "finish_many", settles_the_stale_too)
    with pytest.raises(BrokenPromiseError):
        run_some()
