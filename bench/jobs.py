"""Jobs and credits end to end: `python -m bench.jobs [--seconds S] [--peers]`; last line is JSON.

Client, server, worker and PostgreSQL share one machine; fsync and synchronous_commit are on. A job
is one call of a no-op tool with 200 bytes of input, by one of 1,000 users, through the facade
(`Intake`), the worker's fast lane, the proxy's every duty and the ledger: held, run, settled.

* `jobs_per_s`: closed loop, `--callers` callers that each submit the next job when the last one is
  durable; counted are jobs whose end is durable. The producer stops for a moment when the queue
  grows, so that the figure is what is sustained, not what is accepted.
* `raw_ratio`: against the same statements in a bare loop without features (`bench.raw`), same run.
* `peers`: other engines on the same server, without any ledger, better of one and two workers.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil  # type: ignore[import-untyped]
import uvloop

from app.kernel.principal import SERVICE
from bench.peers.database import cpu_seconds, postmaster
from bench.peers.runs import JOBS, run_peer
from bench.platform import Parts, grant_users, hub, parts, request, worker_process
from bench.raw import run as run_raw

_USERS = 1000
_BACKLOG = 4000
_LOOK_S = 0.2

_STATE = """
select (select count(*) from app.settlement) as done,
  (select count(*) from app.job_queue) as queued,
  pg_current_wal_lsn() - '0/0'::pg_lsn as wal,
  (select coalesce(sum(n_dead_tup), 0) from pg_stat_user_tables where schemaname = 'app') as dead
"""


class Load:
    """Closed-loop callers, held back while too much is queued."""

    def __init__(self, made: Parts, users: Sequence[UUID], callers: int) -> None:
        self._made = made
        self._users = users
        self._callers = callers
        self._may_go = asyncio.Event()
        self._may_go.set()
        self.is_over = False

    async def state(self) -> Mapping[str, Any]:
        """Jobs ended and queued, WAL position, dead rows."""
        async with self._made.database.begin(SERVICE) as uow:
            return dict((await uow.execute(_STATE)).mappings().one())

    async def run(self, seconds: float) -> tuple[Mapping[str, Any], Mapping[str, Any], float]:
        """States at the start and the end of the window, and its length."""
        callers = [asyncio.create_task(self._call(n)) for n in range(self._callers)]
        watcher = asyncio.create_task(self._watch())
        await asyncio.sleep(2)
        before, began = await self.state(), time.monotonic()
        await asyncio.sleep(seconds)
        after, length = await self.state(), time.monotonic() - began
        self.is_over = True
        self._may_go.set()
        await asyncio.gather(*callers, watcher)
        return before, after, length

    async def _call(self, number: int) -> None:
        user = self._users[number % len(self._users)]
        while not self.is_over:
            await self._may_go.wait()
            await self._made.intake.submit(request(user))

    async def _watch(self) -> None:
        while not self.is_over:
            async with self._made.database.begin(SERVICE) as uow:
                queued = (await uow.execute("select count(*) from app.job_queue")).scalar_one()
            if queued > _BACKLOG and not self.is_over:
                self._may_go.clear()
            else:
                self._may_go.set()
            await asyncio.sleep(_LOOK_S)


async def measure(dsn: str, superuser: str, home: Path, args: Any) -> dict[str, Any]:
    """The figures of the platform itself."""
    server, me = postmaster(superuser), psutil.Process()
    with worker_process(dsn, home) as worker:
        async with parts(dsn, home) as made:
            users = await grant_users(made, _USERS)
            load = Load(made, users, args.callers)
            cpu = {"postgres": -cpu_seconds(server), "client": -sum(me.cpu_times()[:2])}
            cpu["worker"] = -cpu_seconds(psutil.Process(worker.pid))
            before, after, length = await load.run(args.seconds)
            cpu["postgres"] += cpu_seconds(server)
            cpu["client"] += sum(me.cpu_times()[:2])
            cpu["worker"] += cpu_seconds(psutil.Process(worker.pid))
    jobs = after["done"] - before["done"]
    return {
        "jobs_per_s": round(jobs / length),
        "seconds": round(length, 1),
        "queued_end": after["queued"],
        "dead_rows_end": int(after["dead"]),
        "wal_bytes_per_job": round(float(after["wal"] - before["wal"]) / max(jobs, 1)),
        "cpu_us_per_job": {
            name: round(1e6 * seconds / max(after["done"], 1)) for name, seconds in cpu.items()
        },
    }


def main() -> None:
    """Run the bench and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--callers", type=int, default=2000)
    parser.add_argument("--peers", action="store_true", help="measure the other engines too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="uaol-bench-") as folder:
        home = Path(folder)
        with hub(home) as running:
            superuser = running.dsn(running.superuser, "postgres")
            ours = uvloop.run(measure(running.dsn("app_backend"), superuser, home, args))
            print(json.dumps(ours))
            raw = uvloop.run(run_raw(superuser, 5.0, driver="psycopg"))
            ours["raw_jobs_per_s"] = raw["jobs_per_s"]
            ours["raw_ratio"] = round(ours["jobs_per_s"] / raw["jobs_per_s"], 2)
            if args.peers:
                ours["peers"] = {name: _best(name, superuser) for name in JOBS}
    print(json.dumps(ours))


def _best(peer: str, dsn: str) -> Any:
    runs = [run_peer(peer, dsn, workers=count) for count in (1, 2)]
    speeds = [round(run["jobs_per_s"]) for run in runs if "jobs_per_s" in run]
    return max(speeds) if speeds else runs[0].get("skipped", "no figure")


if __name__ == "__main__":
    main()
