"""One measurement of one engine: fresh store, workers as processes, warm-up, load, count.

The measuring process is also the producer. A job counts when its end is recorded in the engine's
own store. Workers end with the process that started them, however that one ends.
"""

import argparse
import contextlib
import importlib.metadata
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import psutil  # type: ignore[import-untyped]
import psycopg

from bench.peers.database import cpu_seconds, fresh_database, postmaster
from bench.peers.workers import START_S, end_with_parent, running

USERS = 1000
WARM_UP = 500
POLL_S = 0.05
Send = Callable[[Sequence[str]], None]


class Probe(Protocol):
    """Reads the engine's own record."""

    def is_idle(self) -> bool:
        """Whether no job is queued or running; cheap enough to be asked 20 times a second."""
        ...

    def done(self) -> int:
        """How many jobs are recorded as done."""
        ...


@dataclass(frozen=True, slots=True)
class SqlProbe:
    """A probe by two `from ... where ...` clauses: jobs that have not ended, jobs done."""

    conn: psycopg.Connection[tuple[Any, ...]]
    waiting: str
    finished: str

    def is_idle(self) -> bool:
        """See `Probe`."""
        return not self._one(f"select exists (select 1 {self.waiting})")

    def done(self) -> int:
        """See `Probe`."""
        return int(self._one(f"select count(*) {self.finished}"))

    def _one(self, query: str) -> Any:
        row = self.conn.execute(query.encode()).fetchone()
        return row[0] if row else None


@contextlib.contextmanager
def sql_probe(dsn: str, waiting: str, finished: str) -> Iterator[Probe]:
    """A `SqlProbe` on a connection of its own."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        yield SqlProbe(conn, waiting, finished)


class Engine(Protocol):
    """What a peer must offer. `store` gives the address that everything else gets."""

    name: str  # of its module, too
    package: str
    settings: ClassVar[Mapping[str, Any]]
    notes: str

    def store(self, dsn: str) -> AbstractContextManager[str]: ...
    def install(self, address: str) -> None: ...
    def producer(self, address: str) -> AbstractContextManager[Send]: ...
    def probe(self, address: str) -> AbstractContextManager[Probe]: ...
    def work(self, address: str, workers: int, ready: Callable[[], None]) -> None: ...
    def processes(self, workers: int) -> int: ...
    def servers(self, address: str) -> list[psutil.Process]: ...


class PostgresEngine:
    """The parts that all engines on PostgreSQL have in common."""

    name: str
    settings: ClassVar[Mapping[str, Any]]

    def store(self, dsn: str) -> AbstractContextManager[str]:
        """A fresh database."""
        return fresh_database(dsn, self.name)

    def processes(self, workers: int) -> int:
        """Each worker is a process that the harness starts."""
        return workers

    def servers(self, address: str) -> list[psutil.Process]:
        """The database server."""
        return [postmaster(address)]


def arguments(count: int, size: int) -> list[str]:
    """JSON arguments of `size` bytes, going round the users."""
    heads = (f'{{"user": {number % USERS}, "text": "' for number in range(count))
    return [head.ljust(size - 2, "x") + '"}' for head in heads]


def main(engine: Engine) -> None:
    """Entry point of a peer's module; the last line it prints is one JSON object."""
    parser = argparse.ArgumentParser(description=f"{engine.name}: no-op jobs per second.")
    parser.add_argument("--dsn", required=True, help="a superuser's URL of a durable server")
    parser.add_argument("--jobs", type=int, default=3000)
    parser.add_argument("--payload", type=int, default=200, help="bytes per job")
    parser.add_argument("--workers", type=int, choices=(1, 2), default=1)
    parser.add_argument("--limit-s", type=float, default=30.0, help="stop counting after this")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work is not None:
        end_with_parent()
        engine.work(args.dsn, args.workers, args.work.touch)
        return
    report = measure(engine, args)
    print(json.dumps(report), flush=True)


def measure(engine: Engine, args: argparse.Namespace) -> dict[str, Any]:
    """Run one load; `jobs` are those recorded as done within `seconds`."""
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(engine.store(args.dsn))
        engine.install(address)
        options = ["--dsn", address, "--workers", str(args.workers)]
        count = engine.processes(args.workers)
        pids = stack.enter_context(running(engine.name, count, options))
        send = stack.enter_context(engine.producer(address))
        probe = stack.enter_context(engine.probe(address))
        send(arguments(WARM_UP, args.payload))
        if not _wait(probe, time.monotonic() + START_S):
            raise SystemExit(f"{engine.name} did not finish its warm-up of {WARM_UP} jobs.")
        load = arguments(args.jobs, args.payload)
        result = _time(send, load, probe, args.limit_s, pids, engine.servers(address))
    short = "" if result["jobs"] == args.jobs else f"; stopped short of {args.jobs}"
    return {
        "peer": engine.name,
        "version": importlib.metadata.version(engine.package),
        "settings": {**engine.settings, "workers": args.workers, "payload_bytes": args.payload},
        **result,
        "notes": engine.notes + short,
    }


def _time(
    send: Send,
    load: Sequence[str],
    probe: Probe,
    limit_s: float,
    pids: Sequence[int],
    servers: Sequence[psutil.Process],
) -> dict[str, float]:
    workers = [psutil.Process(pid) for pid in pids]

    def reading() -> tuple[float, int, float, float]:
        # Not by `cpu_seconds`: the workers are children of this process.
        own = sum(psutil.Process().cpu_times()[:2])
        python = own + cpu_seconds(*workers)
        return time.monotonic(), probe.done(), python, cpu_seconds(*servers)

    before = reading()
    send(load)
    _wait(probe, before[0] + limit_s)
    seconds, jobs, python, server = (b - a for a, b in zip(before, reading(), strict=True))
    return {
        "jobs": int(jobs),
        "seconds": round(seconds, 3),
        "jobs_per_s": round(jobs / seconds, 1),
        "cpu_s_python": round(python, 2),
        "cpu_s_server": round(server, 2),
    }


def _wait(probe: Probe, deadline: float) -> bool:
    while not (is_idle := probe.is_idle()) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return is_idle
