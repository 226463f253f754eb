"""Over HTTP: the product's own processes on loopback, a client in its own, one API key per user."""

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

import psutil  # type: ignore[import-untyped]
import psycopg

from app.auth import Auth
from app.billing import to_micro
from app.kernel.clock import SystemClock
from app.kernel.principal import SERVICE, Scope
from bench.figures import tell
from bench.jobs import books
from bench.jobs.ended import Ended
from bench.jobs.stage import DRAIN_S, Options, Stage, stage
from bench.peers.database import cpu_seconds, postmaster
from bench.platform import parts

_BATCH = 100
_BATCH_CLIENTS = 16
_START_S = 120.0
_POLL_S = 0.1
_STOP_S = 20.0
_RAISED = {
    "UAOL_CALLS_PER_MINUTE": str(10**9),
    "UAOL_TOOL_CALLS_PER_MINUTE": str(10**9),
    "UAOL_LOG_LEVEL": "WARNING",
}
_SCOPES = frozenset({Scope.JOBS, Scope.TOOLS})


def over_http(options: Options, _found: Mapping[str, Any]) -> dict[str, Any]:
    """`http_jobs_per_s`, `http_single_per_s`, `http_single_p95_ms` and what goes with them."""
    batches, costs = _measure(options, _BATCH)
    single, single_costs = _measure(options, 1)
    return {
        "http_jobs_per_s": round(batches["ended_per_s"]),
        "http_batch_p95_ms": batches["p95_ms"],
        "http_cpu_us_per_job": costs,
        "http_single_per_s": round(single["accepted_per_s"]),
        "http_single_ended_per_s": round(single["ended_per_s"]),
        "http_single_p50_ms": single["p50_ms"],
        "http_single_p95_ms": single["p95_ms"],
        "http_single_p99_ms": single["p99_ms"],
        "http_single_backlog_end_jobs": single["backlog_end_jobs"],
        "http_single_cpu_us_per_job": single_costs,
        "http_processes": 1 if options.is_one_process else 2,
    }


def _measure(options: Options, size: int) -> tuple[dict[str, Any], dict[str, float]]:
    with stage() as place:
        keys = place.folder / "keys.json"
        keys.write_text(json.dumps(asyncio.run(_keys(place, options.http_users))))
        with contextlib.ExitStack() as stack:
            port = _free_port()
            server = stack.enter_context(_product(place, port, not options.is_one_process))
            _await_health(port, server["server"])
            ended = Ended(place.folder)
            _submit_one(port, json.loads(keys.read_text())[0])
            _await_events(place)
            _drain(ended, 1)
            before = _cpu(place, server)
            report = _load(place, options, port, size)
            if report["faults"]:
                raise SystemExit(f"{report['faults']} requests failed, first: {report['fault']}")
            _drain(ended, report["accepted"] + 1)
            after = _cpu(place, server)
        asyncio.run(_check(place, report["accepted"] + 1))
    jobs = max(report["accepted"], 1)
    costs = {name: round(1e6 * (after[name] - before[name]) / jobs, 1) for name in before}
    return report, costs | {"client": report["cpu_us_per_job"]}


async def _keys(place: Stage, count: int) -> list[str]:
    """Users with credits, each with an API key."""
    auth, secrets = Auth(SystemClock()), []
    async with parts(place.dsn, place.home) as made, made.database.begin(SERVICE) as uow:
        for number in range(count):
            user = await auth.ensure_user(uow, f"user{number}@bench.invalid")
            cause = f"bench:{user.user_id}"
            await made.billing.grant(uow, user.user_id, to_micro(10**6), cause=cause)
            key = await auth.issue_key(uow, user.user_id, name="bench", scopes=_SCOPES)
            secrets.append(key.secret)
    return secrets


@contextlib.contextmanager
def _product(
    place: Stage, port: int, is_split: bool
) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """`uaol serve`, and `uaol worker` beside it if `is_split`."""
    commands = {"server": ["serve"]}
    if is_split:
        commands = {"server": ["serve", "--no-worker"], "worker": ["worker"]}
    environment = os.environ | _RAISED | {"UAOL_HOME": str(place.home), "UAOL_PORT": str(port)}
    environment.pop("DATABASE_URL", None)
    module = [sys.executable, "-m", "bench.jobs.product", str(place.folder)]
    started = {}
    try:
        for slot, (name, command) in enumerate(reversed(commands.items())):
            words = [*module, str(slot), *command]
            # What it prints must not reach the output that ends with the report.
            process = subprocess.Popen(words, env=environment, stdout=sys.stderr.fileno())
            started[name] = process
        yield started
    finally:
        for process in started.values():
            process.terminate()
        for process in started.values():
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _await_health(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("The server did not start.") from None
            time.sleep(_POLL_S)


def _await_events(place: Stage) -> None:
    """What the making of the users has set off is no part of the load."""
    query = "select count(*) from app.outbox where done_at is null"
    with psycopg.connect(place.superuser, autocommit=True) as conn:
        while conn.execute(query).fetchone() != (0,):
            time.sleep(_POLL_S)


def _submit_one(port: int, key: str) -> None:
    """One job; its end tells that a worker works."""
    body = json.dumps({"tool": "bench.noop", "arguments": {"payload": "first"}}).encode()
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    url = f"http://127.0.0.1:{port}/v1/jobs"
    request = urllib.request.Request(url, data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=_STOP_S):
        pass


def _load(place: Stage, options: Options, port: int, size: int) -> dict[str, Any]:
    given = {
        "--port": port,
        "--folder": place.folder,
        "--keys": place.folder / "keys.json",
        "--clients": options.http_clients if size == 1 else _BATCH_CLIENTS,
        "--batch": size,
        # Single submits are answered as they come, however many jobs wait.
        "--ahead": 0 if size == 1 else options.ahead,
        "--seconds": options.http_seconds,
        "--warm": options.warm_s,
    }
    words = [str(word) for pair in given.items() for word in pair]
    tell(f"HTTP, {size} a request")
    command = [sys.executable, "-m", "bench.jobs.httpload", *words]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    report: dict[str, Any] = json.loads(output.splitlines()[-1])
    return report


def _cpu(place: Stage, started: Mapping[str, subprocess.Popen[bytes]]) -> dict[str, float]:
    used = {name: cpu_seconds(psutil.Process(p.pid)) for name, p in started.items()}
    return used | {"postgres": cpu_seconds(postmaster(place.superuser))}


def _drain(ended: Ended, jobs: int) -> None:
    deadline = time.monotonic() + DRAIN_S
    while ended.total() < jobs:
        if time.monotonic() > deadline:
            raise SystemExit(f"{jobs - ended.total()} jobs have not ended.")
        time.sleep(_POLL_S)


async def _check(place: Stage, jobs: int) -> None:
    async with await psycopg.AsyncConnection.connect(place.superuser, autocommit=True) as conn:
        await books.check(conn, jobs)
