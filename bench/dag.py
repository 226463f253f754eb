"""Workflows of five steps end to end: `python -m bench.dag [--seconds S]`; last line is JSON.

A run is a diamond with a tail, five calls of a no-op tool through the real lane, proxy and ledger:
submitted, held, each step's result stored once and before its successors start, settled, by one
of 1,000 users. Closed loop: the producer stops for a moment when the queue grows.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import uvloop

from app.billing import Quote, to_micro
from app.kernel.principal import SERVICE
from bench.peers.database import cpu_seconds
from bench.platform import Parts, grant_users, hub, parts, request, worker_process

_USERS, _CALLERS = 1000, 500
_BACKLOG = 1500
_LOOK_S = 0.1
_TOOL, _PRICE = "bench.noop", to_micro("0.001")
_STATE = """
select (select count(*) from app.settlement where kind = 'captured') as done,
  (select count(*) from app.job_steps) as steps,
  (select count(*) from app.job_queue) as queued,
  pg_current_wal_lsn() - '0/0'::pg_lsn as wal, pg_backend_pid() as pid
"""


def _node(*sources: str) -> dict[str, Any]:
    payload = "after " + ", ".join(f"${{{{ steps.{name}.output.ok }}}}" for name in sources)
    return {"tool": _TOOL, "arguments": {"payload": payload}}


DAG: Mapping[str, Any] = {
    "definition": {
        "workflow": 1,
        "nodes": {
            "top": {"tool": _TOOL, "arguments": {"payload": "${{ input.payload }}"}},
            "left": _node("top"),
            "right": _node("top"),
            "join": _node("left", "right"),
            "tail": _node("join"),
        },
    },
    "input": {"payload": "x" * 100},
    "billing": "outcome",
    "prices": {f"tool:{_TOOL}": _PRICE},
    "pins": {},
}


class _Load:
    """Callers that each submit the next run when the last one is durable."""

    def __init__(self, made: Parts, worker: psutil.Process) -> None:
        self._made = made
        self._worker = worker
        self._may_go = asyncio.Event()
        self._may_go.set()
        self.is_over = False

    async def state(self) -> Mapping[str, Any]:
        """Runs ended and queued, steps stored, WAL position."""
        async with self._made.database.begin(SERVICE) as uow:
            return dict((await uow.execute(_STATE)).mappings().one())

    async def go(self, seconds: float) -> tuple[Mapping[str, Any], Mapping[str, Any], float]:
        """States at the start and the end of the window, and its length."""
        users = await grant_users(self._made, _USERS)
        callers = [asyncio.create_task(self._call(users[n])) for n in range(_CALLERS)]
        watcher = asyncio.create_task(self._watch())
        await asyncio.sleep(2)
        before, began = await self._marked()
        await asyncio.sleep(seconds)
        after, ended = await self._marked()
        self.is_over = True
        self._may_go.set()
        await asyncio.gather(*callers, watcher)
        return before, after, ended - began

    async def _marked(self) -> tuple[dict[str, Any], float]:
        state = dict(await self.state())
        server = psutil.Process(state["pid"]).parent()
        state["postgres"] = cpu_seconds(server)
        state["client"], state["worker"] = map(_cpu_of, (psutil.Process(), self._worker))
        return state, time.monotonic()

    async def _call(self, user: Any) -> None:
        price = Quote("tool", "workflow", "outcome", 5 * _PRICE, 1)
        asked = request(user, kind="workflow", definition=DAG, price=price)
        while not self.is_over:
            await self._may_go.wait()
            await self._made.intake.submit(asked)

    async def _watch(self) -> None:
        while not self.is_over:
            async with self._made.database.begin(SERVICE) as uow:
                queued = (await uow.execute("select count(*) from app.job_queue")).scalar_one()
            if queued > _BACKLOG and not self.is_over:
                self._may_go.clear()
            else:
                self._may_go.set()
            await asyncio.sleep(_LOOK_S)


def _cpu_of(process: psutil.Process) -> float:
    return float(sum(process.cpu_times()[:2]))


async def dag_runs(dsn: str, home: Path, seconds: float) -> dict[str, Any]:
    """Runs a second, and CPU and WAL per run; on a database at the newest revision."""
    with worker_process(dsn, home) as worker:
        process = psutil.Process(worker.pid)
        async with parts(dsn, home) as made:
            before, after, length = await _Load(made, process).go(seconds)
    runs = max(after["done"] - before["done"], 1)
    cpu = {name: after[name] - before[name] for name in ("postgres", "client", "worker")}
    return {
        "dag_runs_per_s": round(runs / length),
        "dag_steps_per_run": round((after["steps"] - before["steps"]) / runs, 2),
        "dag_queued_end": after["queued"],
        "dag_cpu_us_per_run": {name: round(1e6 * one / runs) for name, one in cpu.items()},
        "dag_wal_bytes_per_run": round(float(after["wal"] - before["wal"]) / runs),
    }


def main() -> None:
    """Run the bench and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="uaol-bench-") as folder, hub(Path(folder)) as running:
        print(
            json.dumps(uvloop.run(dag_runs(running.dsn("app_backend"), Path(folder), args.seconds)))
        )


if __name__ == "__main__":
    main()
