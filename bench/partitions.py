"""What partitions cost jobs: `python -m bench.partitions`; the last line is one JSON object.

The product's own statements insert, claim and complete batches of jobs in databases that differ in
the partitions of `processing_jobs` alone, in turns. Counted is the CPU of the one process of
PostgreSQL that runs them, as the kernel's scheduler has it: what else the machine does matters
little. Holds and settlements are left out, as their tables have no partitions.
"""

import statistics
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import uvloop
from psycopg import sql

from app.kernel.db import Database
from app.kernel.embedded import Hub
from app.kernel.ids import new_id
from app.kernel.principal import SERVICE
from app.orchestration import store
from app.orchestration.types import End
from bench.figures import Figure, main, parser
from bench.platform import hub, request

# Two are there from the first day on, some twenty at most with `UAOL_RETENTION_DAYS`.
_COUNTS = (2, 17, 32)
_SIZES = (1, 50, 500)
# A statement is prepared when it has run five times.
_WARM = 10
_LEASE_S = 30.0
_PARTITIONS = "select from app.partitions() where relation = 'processing_jobs'"
_MAKE = """
select app.make_partition('processing_jobs', current_date + %(ahead)s::int,
  current_date + %(ahead)s::int + 1)
"""


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked for."""

    batches: int = 45


@dataclass(slots=True)
class _Place:
    """A database, the process that serves its one connection, and the head of its queue."""

    database: Database
    pid: int
    floor: int = 0

    @classmethod
    async def of(cls, dsn: str) -> "_Place":
        database = Database(dsn, pool_size=1)
        async with database.begin(SERVICE) as uow:
            return cls(database, (await uow.execute("select pg_backend_pid()")).scalar_one())

    def used_us(self) -> float:
        """CPU of the process so far."""
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[0]) / 1000

    async def batch(self, size: int) -> float:
        """What so many jobs take from their insert to their end, in microseconds of CPU a job."""
        user, before = new_id(), self.used_us()
        async with self.database.begin(SERVICE) as uow:
            jobs = [(new_id(), request(user)) for _ in range(size)]
            _, self.floor = await store.insert_jobs(uow, jobs, self.floor)
        async with self.database.begin(SERVICE) as uow:
            leases = await store.claim(uow, "tool", size, _LEASE_S, "bench", floor=self.floor)
        async with self.database.begin(SERVICE) as uow:
            done = await store.complete(uow, [End(one, "Success", {"ok": True}) for one in leases])
        if len(done) != size:
            raise SystemExit(f"{len(done)} of {size} jobs ended.")
        return (self.used_us() - before) / size


def partitions(options: Options, _before: Mapping[str, Any]) -> dict[str, Any]:
    """Medians by partitions and jobs in a batch."""
    with tempfile.TemporaryDirectory(prefix="uaol-bench-") as name, hub(Path(name)) as running:
        return uvloop.run(_measured([_made(running, count) for count in _COUNTS], options))


async def _measured(dsns: list[str], options: Options) -> dict[str, Any]:
    places = dict(zip(_COUNTS, [await _Place.of(dsn) for dsn in dsns], strict=True))
    found: dict[str, Any] = {}
    for size in _SIZES:
        taken: dict[int, list[float]] = {count: [] for count in _COUNTS}
        for turn in range(_WARM + options.batches):
            for count, place in places.items():
                one = await place.batch(size)
                taken[count] += [one] if turn >= _WARM else []
        medians = {count: statistics.median(values) for count, values in taken.items()}
        found |= {f"partitions_{count}_of_{size}_us": one for count, one in medians.items()}
    for place in places.values():
        await place.database.close()
    return found


def _made(running: Hub, count: int) -> str:
    """A database with so many partitions of jobs."""
    name = f"partitions_{count}"
    with psycopg.connect(running.dsn(running.superuser, "postgres"), autocommit=True) as conn:
        make = sql.SQL("create database {} template {}")
        conn.execute(make.format(sql.Identifier(name), sql.Identifier(running.database)))
    with psycopg.connect(running.dsn(running.superuser, name), autocommit=True) as conn:
        ahead = 0
        while len(conn.execute(_PARTITIONS).fetchall()) < count:
            conn.execute(_MAKE, {"ahead": ahead})
            ahead += 1
    return running.dsn("app_backend", name)


FIGURES: Mapping[str, Figure] = {"partitions": partitions}

if __name__ == "__main__":
    asked = parser("bench.partitions", FIGURES, __doc__)
    asked.add_argument("--batches", type=int, help="batches, of which the median counts (45)")
    main(asked, FIGURES, Options())
