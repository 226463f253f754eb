"""Procrastinate: `python -m bench.peers.procrastinate --dsn URL --jobs N`.

Settings: concurrent async tasks in one worker, a pool as large as they are, `batch_defer`,
LISTEN/NOTIFY on. It fetches one job per call, which is what limits it.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import procrastinate
import uvloop

from bench.peers.harness import PostgresEngine, Probe, Send, main, sql_probe

CONCURRENCY = 20
CHUNK = 1000


class ProcrastinateEngine(PostgresEngine):
    """The peer."""

    name = "procrastinate"
    package = "procrastinate"
    settings: ClassVar[Mapping[str, Any]] = {
        "connector": "PsycopgConnector",
        "concurrency": CONCURRENCY,
        "batch_defer": CHUNK,
        "delete_jobs": "never",
        "loop": "uvloop",
    }
    notes = "no results, no ledger; a done job is a row with status succeeded"

    def install(self, address: str) -> None:
        """Its tables and functions."""
        app = procrastinate.App(connector=procrastinate.SyncPsycopgConnector(conninfo=address))
        with app.open():
            app.schema_manager.apply_schema()

    @contextlib.contextmanager
    def producer(self, address: str) -> Iterator[Send]:
        """Defers lists."""
        app, task = _app(address)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_open(app))
            yield lambda items: runner.run(_defer(task, items))
            runner.run(app.close_async())

    def probe(self, address: str) -> contextlib.AbstractContextManager[Probe]:
        """Rows by status."""
        return sql_probe(
            address,
            "from procrastinate_jobs where status in ('todo', 'doing')",
            "from procrastinate_jobs where status = 'succeeded'",
        )

    def work(self, address: str, workers: int, ready: Callable[[], None]) -> None:
        """One worker with concurrent tasks."""
        asyncio.Runner(loop_factory=uvloop.new_event_loop).run(_work(address, ready))


async def _no_op(user: int, text: str) -> None:
    pass


def _app(address: str) -> tuple[procrastinate.App, procrastinate.tasks.Task]:
    # One connection listens; the others run the tasks' own fetches and ends.
    size = CONCURRENCY + 1
    connector = procrastinate.PsycopgConnector(conninfo=address, min_size=size, max_size=size)
    app = procrastinate.App(connector=connector)
    return app, app.task(name="no_op")(_no_op)


async def _open(app: procrastinate.App) -> None:
    await app.open_async()


async def _defer(task: procrastinate.tasks.Task, items: Sequence[str]) -> None:
    for start in range(0, len(items), CHUNK):
        await task.batch_defer_async(*map(json.loads, items[start : start + CHUNK]))


async def _work(address: str, ready: Callable[[], None]) -> None:
    app, _ = _app(address)
    async with app.open_async():
        ready()
        await app.run_worker_async(concurrency=CONCURRENCY, install_signal_handlers=False)


if __name__ == "__main__":
    main(ProcrastinateEngine())
