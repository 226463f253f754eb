"""Where a figure is measured: a fresh hub, its workers, and readings of what they cost."""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import psutil  # type: ignore[import-untyped]
import psycopg

from bench.jobs import books
from bench.jobs.ended import Ended
from bench.jobs.watching import watch
from bench.peers.database import cpu_seconds, postmaster
from bench.platform import Parts, grant_users, hub, noop, parts, worker_process

USERS = 1000
DRAIN_S = 180.0
_LOOK_S = 0.05
_DEAD = """
select coalesce(sum(n_dead_tup), 0)::bigint from pg_stat_user_tables where schemaname = 'app'
"""
_STATE = f"""
select (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint, ({_DEAD}),
  pg_total_relation_size('app.job_queue') + pg_total_relation_size('app.wallet')
"""


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked for; times in seconds."""

    seconds: float = 60.0
    open_seconds: float = 60.0
    http_seconds: float = 20.0
    rate: int = 10_000
    callers: int = 2000
    ahead: int = 4000
    workers: int = 1
    rows: int = 1_000_000
    http_clients: int = 64
    http_users: int = USERS
    is_one_process: bool = False
    warm_s: float = 2.0


@dataclass(frozen=True, slots=True)
class Reading:
    """What had been done and used at one moment."""

    at: float
    ended: int
    wal_bytes: int
    dead_rows: int
    hot_bytes: int
    cpu_s: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Stage:
    """A fresh hub, and a folder for the counts of its workers."""

    folder: Path
    home: Path
    dsn: str
    superuser: str


@contextmanager
def stage() -> Iterator[Stage]:
    """A hub without any job, stopped and removed at the end."""
    with tempfile.TemporaryDirectory(prefix="uaol-bench-") as name:
        home = Path(name) / "home"
        with hub(home) as running:
            yield Stage(
                Path(name), home, running.dsn("app_backend"), running.dsn(running.superuser)
            )


@dataclass(slots=True)
class Rig:
    """The platform at work: modules for the client, workers in processes of their own."""

    stage: Stage
    made: Parts
    users: list[UUID]
    ended: Ended
    conn: psycopg.AsyncConnection[Any]
    processes: Mapping[str, list[psutil.Process]]
    submitted: int = 0
    loaded: books.Loaded = field(default_factory=books.Loaded)

    async def read(self) -> Reading:
        """A reading; some 2 ms of the server's time."""
        row = await (await self.conn.execute(_STATE)).fetchone()
        wal, dead, hot = row or (0, 0, 0)
        # It looks at every process there is, which takes a while.
        cpu = await asyncio.to_thread(self._cpu)
        return Reading(time.monotonic(), self.ended.total(), wal, dead, hot, cpu)

    def _cpu(self) -> dict[str, float]:
        used = {name: cpu_seconds(*roots) for name, roots in self.processes.items()}
        return used | {"client": sum(psutil.Process().cpu_times()[:2])}

    async def dead_rows(self) -> int:
        """Dead rows now."""
        row = await (await self.conn.execute(_DEAD)).fetchone()
        return int(row[0]) if row else 0

    async def drain(self) -> None:
        """Wait until all that was submitted has ended; raises `SystemExit` if it does not."""
        deadline = time.monotonic() + DRAIN_S
        while self.ended.total() < self.submitted:
            if time.monotonic() > deadline:
                left = self.submitted - self.ended.total()
                raise SystemExit(f"{left} jobs have not ended after {DRAIN_S:.0f} s.")
            await asyncio.sleep(_LOOK_S)

    async def settle(self) -> None:
        """Drain, then have the books checked."""
        await self.drain()
        await books.check(self.conn, self.submitted, self.loaded)

    @classmethod
    @asynccontextmanager
    async def over(
        cls, stage: Stage, options: Options, *, users: int = USERS, handler: Any = noop
    ) -> AsyncIterator[Self]:
        """Workers started, users with credits made."""
        with contextlib.ExitStack() as stack:
            pids = [_worker(stack, stage, n, handler) for n in range(options.workers)]
            processes = {
                "worker": [psutil.Process(pid) for pid in pids],
                "postgres": [postmaster(stage.superuser)],
            }
            conn = await psycopg.AsyncConnection.connect(stage.superuser, autocommit=True)
            async with conn, parts(stage.dsn, stage.home) as made:
                people = await grant_users(made, users)
                ended = Ended(stage.folder, options.workers)
                yield cls(stage, made, people, ended, conn, processes)


def _worker(stack: contextlib.ExitStack, stage: Stage, number: int, handler: Any) -> int | None:
    first = partial(watch, stage.folder, number)
    given = worker_process(stage.dsn, stage.home, first=first, handler=handler)
    return stack.enter_context(given).pid
