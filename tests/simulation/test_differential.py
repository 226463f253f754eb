"""The stores of the simulation and the SQL they stand for give the same answers.

One seeded sequence of moves runs through the same product code over both. After each move what
can be seen of every job, of the wallets and of who was claimed in which order must agree.
"""

import random
from collections.abc import Iterator
from typing import Any

import pytest

from app.kernel.db import Database
from app.kernel.ids import new_id
from app.kernel.principal import SERVICE
from app.orchestration import store
from tests.faults.summary import SECONDS, record
from tests.simulation.sides import Side, SteppedMemory

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120 + SECONDS)]

MOVES = 1500 if SECONDS else 250
SEEDS = 4 if SECONDS else 2
GRANT = 400
STATES = ("Success", "Failed", "Dead", "Cancelled")


_WEIGHTS = {
    "submit": 20,
    "claim": 20,
    "finish": 20,
    "retry": 8,
    "renew": 6,
    "cancel": 8,
    "expire": 8,
    "come_due": 5,
    "stage": 8,
}


def moves(chance: random.Random, side: Side) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The next move, from what the first side knows; both know the same."""
    while True:
        name = chance.choices([*_WEIGHTS], [*_WEIGHTS.values()])[0]
        tokens = sorted(side.leases)
        if name == "submit":
            yield name, ([_request(chance) for _ in range(chance.randint(1, 4))],)
        elif name == "claim":
            yield name, (1000,)
        elif name == "stage":
            yield name, ()
        elif name in ("cancel", "expire", "come_due") and side.jobs:
            yield name, (chance.randrange(len(side.jobs)),)
        elif name in ("finish", "retry", "renew") and tokens:
            yield name, _held(chance, name, tokens)


def _held(chance: random.Random, name: str, tokens: list[tuple[int, int]]) -> tuple[Any, ...]:
    some = chance.sample(tokens, min(len(tokens), chance.randint(1, 3)))
    if name == "finish":
        return some, [chance.choice(STATES) for _ in some]
    if name == "retry":
        return some[0], chance.choice([0.0, 3600.0])
    return (sorted(dict(some).items()),)


def _request(chance: random.Random) -> dict[str, Any]:
    return {
        "user": chance.randrange(2),
        "n": chance.randrange(2),
        "price": chance.choice([0, 5, 60]),
        "key": chance.choice([None, None, "a", "b", str(chance.randrange(30))]),
        "priority": chance.randint(-2, 2),
        "is_later": chance.random() < 0.2,
    }


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_memory_and_sql_give_the_same_answers(database: Database, seed: int) -> None:
    users, memory = [new_id(), new_id()], SteppedMemory()
    real, simulated = Side(database, users, False), Side(memory, users, True)
    async with database.begin(SERVICE) as uow:
        for user in users:
            await real.billing.grant(uow, user, GRANT, cause=f"test:{user}")
            memory.memory.grant(user, GRANT)
    chance = random.Random(seed)
    for number, (name, given) in enumerate(moves(chance, real)):
        answers = [await getattr(side, name)(*given) for side in (real, simulated)]
        assert answers[0] == answers[1], (seed, number, name, given)
        if number % 5 == 0:
            assert await real.look() == await simulated.look(), (seed, number, name, given)
        if number >= MOVES:
            break
    memory.memory.audit()
    record(f"differential_{seed}", moves=MOVES, jobs=len(real.jobs))


async def test_the_fair_order_is_the_same(database: Database) -> None:
    """One user after the other in both, whatever the batches were, with places of their own."""
    users, memory = [new_id(), new_id(), new_id()], SteppedMemory()
    sides = [Side(database, users, False), Side(memory, users, True)]
    orders = []
    for side in sides:
        async with side.begin() as uow:
            for user in users:
                if side.is_memory:
                    memory.memory.grant(user, GRANT)
                else:
                    await side.billing.grant(uow, user, GRANT, cause=f"test:{user}")
        chance = random.Random(7)
        for user, size in [(0, 30), (1, 3), (0, 5), (2, 1), (1, 4)]:
            one = {"user": user, "n": 0, "price": 0, "key": None, "is_later": False}
            await side.submit([{**one, "priority": chance.randint(-2, 2)} for _ in range(size)])
        async with side.begin() as uow:
            leases = await store.claim(uow, "tool", 1000, 60, "w")
        head = min(lease.place for lease in leases)
        orders.append(sorted((one.place - head, side.number(one.job_id)) for one in leases))
    assert orders[0] == orders[1]
    assert len(orders[0]) == 43
