"""Jobs of other days, over a database whose partitions a test may change."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from app.billing import Hold
from app.kernel.embedded import Hub
from app.kernel.principal import SERVICE
from app.orchestration import Retention, store
from app.orchestration.types import End
from tests.books import off_books
from tests.orchestration.conftest import Bench

TABLES = ("job_events", "job_steps", "processing_jobs")


def id_on(day: date) -> UUID:
    """An id of version 7 made at noon of a day."""
    noon = datetime.combine(day, time(12), UTC)
    high = int(noon.timestamp() * 1000) << 80
    return UUID(int=high | 0x7 << 76 | 0x2 << 62 | secrets.randbits(62))


@pytest.fixture
def clone(hub: Hub, template: str) -> Iterator[str]:
    """The name of a database of the test's own: partitions outlive a wipe."""
    name = f"r_{uuid4().hex}"
    with psycopg.connect(hub.dsn(hub.superuser, "postgres"), autocommit=True) as admin:
        admin.execute(f"create database {name} template {template}")
        yield name
        assert off_books(hub.dsn(hub.superuser, name)) == []
        admin.execute(f"drop database {name} with (force)")


@dataclass
class Keeper:
    """What a test of retention needs beside the bench."""

    bench: Bench
    admin: "psycopg.Connection[Any]"
    today: date

    def retention(self, keep_days: int) -> Retention:
        return Retention(self.bench.database, keep_days=keep_days)

    def ago(self, days: int) -> date:
        return self.today - timedelta(days)

    def end_past(self, days_ago: int) -> None:
        """Let the partition of the past end some days ago, and the next ones follow daily."""
        for table in TABLES:
            self.admin.execute(f"alter table app.{table} detach partition app.{table}_past")
            self.admin.execute(
                f"alter table app.{table} attach partition app.{table}_past for values"
                f" from (minvalue) to ('{self.bound(self.ago(days_ago))}')"
            )
            for ago in range(days_ago, -1, -1):
                self.make(table, self.ago(ago))

    def make(self, table: str, day: date) -> Any:
        made = self.admin.execute(
            "select app.make_partition(%s, %s, %s)", (table, day, day + timedelta(1))
        )
        return made.fetchone()

    def bound(self, day: date) -> Any:
        row = self.admin.execute("select app.day_id(%s)", (day,)).fetchone()
        assert row is not None
        return row[0]

    def where(self, table: str, job_id: UUID) -> list[str]:
        """The partitions that hold a job's rows."""
        query = f"select tableoid::regclass::text from app.{table} where job_id = %s"
        return [name.partition(".")[2] for (name,) in self.admin.execute(query, (job_id,))]

    async def job(self, day: date, *, is_ended: bool = True) -> UUID:
        """A job submitted on a day, run to its end unless told otherwise, with one event."""
        bench, job_id = self.bench, id_on(day)
        request = bench.request(kind="task" if is_ended else "later")
        async with bench.database.begin(SERVICE) as uow:
            hold = Hold(job_id, bench.user.owner, request.price.amount_micro)
            assert await bench.billing.place(uow, [hold]) == {}
            await store.insert_jobs(uow, [(job_id, request)], 0)
            await uow.execute(
                "insert into app.job_events (job_id, seq, user_id, kind, data)"
                " values (:job, 2, :user, 'progress', '{}')",
                {"job": job_id, "user": bench.user.owner},
            )
        if is_ended:
            await self.end("task")
        return job_id

    async def end(self, kind: str) -> None:
        """Run the jobs of a kind to their end."""
        async with self.bench.database.begin(SERVICE) as uow:
            leases = await store.claim(uow, kind, 100, 30, "w")
        async with self.bench.database.begin(SERVICE) as uow:
            ends = [End(lease, "Success", {"ok": True}) for lease in leases]
            assert len(await self.bench.lifecycle.finish_many(uow, ends)) == len(leases) > 0


@pytest.fixture
def keeper(hub: Hub, clone: str, bench: Bench) -> Iterator[Keeper]:
    with psycopg.connect(hub.dsn(hub.superuser, clone), autocommit=True) as admin:
        row = admin.execute("select (now() at time zone 'utc')::date").fetchone()
        assert row is not None
        yield Keeper(bench, admin, row[0])
