"""The yardstick: the statements of a billed job in a plain loop, without any feature.

`python -m bench.raw --dsn URL`. One producer and one consumer coroutine in one process. A batch is
enqueued (jobs, narrow queue, holds, wallets), claimed, and completed (results, queue, settlements,
wallets). A completion and the next claim share one transaction. No priority, retry, idempotency,
event, limit or refusal: what the platform adds to this is the price of its features.

Plans are custom and joins nested loops, because a generic plan made while the tables are empty is
wrong ever after.
"""

import argparse
import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import psutil  # type: ignore[import-untyped]

from bench.peers.database import cpu_seconds, fresh_database, postmaster
from bench.peers.harness import arguments
from bench.peers.statements import BALANCE, CLAIM, COMPLETE, ENQUEUE, GIVE, PRICE, SCHEMA

GRANT = 10**15
AHEAD = 8  # batches enqueued and not yet completed
WARM_UP_S = 1.0
Driver = Literal["asyncpg", "psycopg"]
Fetch = Callable[..., Awaitable[Sequence[Sequence[Any]]]]

SETTINGS = {
    "plan_cache_mode": "force_custom_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}


@dataclass(slots=True)
class Loop:
    """One producer, one consumer, and what they share."""

    batch: int
    users: list[str]
    payloads: list[str]
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AHEAD))
    filled: asyncio.Event = field(default_factory=asyncio.Event)
    is_stopping: bool = False
    enqueued: int = 0
    completed: int = 0

    async def produce(self, fetch: Fetch) -> None:
        """Enqueue until told to stop, `AHEAD` batches ahead at most."""
        inputs = f"[{','.join(self.payloads)}]"
        while not self.is_stopping:
            await self.slots.acquire()
            number = self.enqueued
            # Version 7: ordered by time, the count standing for the random bits.
            base = (time.time_ns() // 1_000_000 << 80) | (7 << 76) | (2 << 62) | number
            ids = ",".join(f"{base + place:032x}" for place in range(self.batch))
            owners = [self.users[(number + p) % len(self.users)] for p in range(self.batch)]
            await fetch(ENQUEUE, f"{{{ids}}}", f"{{{','.join(owners)}}}", inputs)
            self.enqueued += self.batch
            self.filled.set()

    async def consume(self, fetch: Fetch) -> None:
        """Claim and complete until told to stop and nothing is left."""
        taken: Sequence[Sequence[Any]] = []
        while not self.is_stopping or self.completed < self.enqueued:
            if not taken and self.completed == self.enqueued:
                self.filled.clear()
                await self.filled.wait()
            await fetch("begin")
            ended = await self._complete(fetch, taken) if taken else 0
            taken = await fetch(CLAIM, self.batch)
            await fetch("commit")
            self.completed += ended
            for _ in range(ended // self.batch):
                self.slots.release()

    async def _complete(self, fetch: Fetch, taken: Sequence[Sequence[Any]]) -> int:
        ids = ",".join(str(row[0]) for row in taken)
        tokens = ",".join(str(row[1]) for row in taken)
        outputs = ",".join('{"ok": true}' for _ in taken)
        return len(await fetch(COMPLETE, f"{{{ids}}}", f"{{{tokens}}}", f"[{outputs}]"))


async def run(
    dsn: str, seconds: float, batch: int = 500, users: int = 1000, driver: Driver = "asyncpg"
) -> dict[str, Any]:
    """Jobs per second of the plain loop, on a fresh database of the server of `dsn`.

    `dsn` is a superuser's libpq URL. Raises `SystemExit` if a credit or a job is missing at the
    end. Returns jobs, seconds, jobs_per_s, cpu_us_per_job of Python and of PostgreSQL,
    wal_bytes_per_job, and the settings.
    """
    async with contextlib.AsyncExitStack() as stack:
        address = stack.enter_context(fresh_database(dsn, "raw"))
        connect = _asyncpg if driver == "asyncpg" else _psycopg
        producer, consumer, watcher = [await connect(address, stack) for _ in range(3)]
        owners = [f"{number:032x}" for number in range(users)]
        for statement in SCHEMA.split(";\n"):
            await watcher(statement)
        await watcher(GIVE, f"{{{','.join(owners)}}}", GRANT)
        loop = Loop(batch, owners, arguments(batch, 200))
        tasks = [asyncio.create_task(loop.produce(producer))]
        tasks.append(asyncio.create_task(loop.consume(consumer)))
        await _sleep(WARM_UP_S, tasks)
        before = await _reading(watcher, address, loop)
        await _sleep(seconds, tasks)
        after = await _reading(watcher, address, loop)
        loop.is_stopping = True
        loop.filled.set()
        await asyncio.gather(*tasks)
        await _check(watcher, loop)
    settings = {"batch": batch, "users": users, "driver": driver, "payload_bytes": 200}
    return {**_report(before, after), "settings": settings}


async def _sleep(seconds: float, tasks: list[asyncio.Task[None]]) -> None:
    ended, _ = await asyncio.wait(tasks, timeout=seconds, return_when="FIRST_EXCEPTION")
    for task in ended:
        task.result()


async def _reading(fetch: Fetch, dsn: str, loop: Loop) -> tuple[float, int, float, float, int]:
    ((wal,),) = await fetch("select (pg_current_wal_lsn() - '0/0')::bigint")
    python = sum(psutil.Process().cpu_times()[:2])
    return time.monotonic(), loop.completed, python, cpu_seconds(postmaster(dsn)), int(wal)


def _report(before: tuple[float, ...], after: tuple[float, ...]) -> dict[str, Any]:
    seconds, jobs, python, server, wal = (b - a for a, b in zip(before, after, strict=True))
    return {
        "jobs": int(jobs),
        "seconds": round(seconds, 3),
        "jobs_per_s": round(jobs / seconds, 1),
        "cpu_us_per_job": {
            "python": round(python / jobs * 1e6, 1),
            "postgres": round(server / jobs * 1e6, 1),
        },
        "wal_bytes_per_job": round(wal / jobs),
    }


async def _check(fetch: Fetch, loop: Loop) -> None:
    ((settled, queued, held, captured, is_whole),) = await fetch(BALANCE, GRANT)
    expected = (loop.enqueued, 0, 0, loop.enqueued * PRICE, True)
    if (settled, queued, int(held), int(captured), is_whole) != expected:
        raise SystemExit("The yardstick lost a job or a credit.")


async def _asyncpg(dsn: str, stack: contextlib.AsyncExitStack) -> Fetch:
    import asyncpg

    conn = await asyncpg.connect(dsn, server_settings=SETTINGS)
    stack.push_async_callback(conn.close)
    fetch: Fetch = conn.fetch
    return fetch


async def _psycopg(dsn: str, stack: contextlib.AsyncExitStack) -> Fetch:
    import psycopg

    options = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
    conn = await psycopg.AsyncConnection.connect(
        dsn, autocommit=True, options=options, cursor_factory=psycopg.AsyncRawCursor
    )
    stack.push_async_callback(conn.close)

    async def fetch(query: str, *values: object) -> Sequence[Sequence[Any]]:
        cursor = await conn.execute(query.encode(), values, prepare=True, binary=True)
        return await cursor.fetchall() if cursor.description else []

    return fetch


def main() -> None:
    parser = argparse.ArgumentParser(description="The raw loop of a billed job's statements.")
    parser.add_argument("--dsn", required=True, help="a superuser's URL of a durable server")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--batch", type=int, default=500)
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--driver", choices=("asyncpg", "psycopg"), default="asyncpg")
    args = parser.parse_args()
    print(json.dumps(asyncio.run(run(**vars(args)))))


if __name__ == "__main__":
    main()
