"""PgQueuer: `python -m bench.peers.pgqueuer --dsn URL --jobs N`.

Settings of its performance guide: AsyncpgDriver on a connection of its own per queue manager,
lists in `enqueue`, a large `batch_size` for short jobs, `pgq autovac`, tables logged (`durable`).
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import asyncpg
import pgqueuer
import uvloop
from pgqueuer.adapters.drivers.asyncpg import AsyncpgDriver
from pgqueuer.adapters.persistence.queries import Queries

from bench.peers.harness import PostgresEngine, Probe, Send, main, sql_probe

BATCH = 500
CHUNK = 1000
ENTRYPOINT = "no_op"


class PgQueuerEngine(PostgresEngine):
    """The peer."""

    name = "pgqueuer"
    package = "pgqueuer"
    settings: ClassVar[Mapping[str, Any]] = {
        "driver": "AsyncpgDriver",
        "batch_size": BATCH,
        "enqueue_list": CHUNK,
        "durability": "durable",
        "autovac": True,
        "loop": "uvloop",
    }
    notes = "no results, no ledger; a done job is deleted and appended to pgqueuer_log"

    def install(self, address: str) -> None:
        """Its tables, with the storage settings that it recommends."""

        async def run() -> None:
            queries = await _connect(address)
            await queries.install()
            await queries.optimize_autovacuum()

        asyncio.run(run())

    @contextlib.contextmanager
    def producer(self, address: str) -> Iterator[Send]:
        """Enqueues lists over one connection."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            queries = runner.run(_connect(address))
            yield lambda items: runner.run(_enqueue(queries, items))

    def probe(self, address: str) -> contextlib.AbstractContextManager[Probe]:
        """A row lives in `pgqueuer` until it is logged."""
        done = "from pgqueuer_log where status = 'successful'"
        return sql_probe(address, "from pgqueuer", done)

    def work(self, address: str, workers: int, ready: Callable[[], None]) -> None:
        """One queue manager."""
        asyncio.Runner(loop_factory=uvloop.new_event_loop).run(_work(address, ready))


async def _connect(address: str) -> Queries:
    return Queries(AsyncpgDriver(await asyncpg.connect(address)))


async def _enqueue(queries: Queries, items: Sequence[str]) -> None:
    for start in range(0, len(items), CHUNK):
        payloads = [item.encode() for item in items[start : start + CHUNK]]
        size = len(payloads)
        await queries.enqueue([ENTRYPOINT] * size, payloads, [0] * size)


async def _work(address: str, ready: Callable[[], None]) -> None:
    manager = pgqueuer.PgQueuer(AsyncpgDriver(await asyncpg.connect(address)))

    async def no_op(job: pgqueuer.Job) -> None:
        pass

    manager.entrypoint(ENTRYPOINT)(no_op)
    ready()
    await manager.run(batch_size=BATCH)


if __name__ == "__main__":
    main(PgQueuerEngine())
