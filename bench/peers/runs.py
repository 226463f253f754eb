"""Starts the peers from the platform's environment: `python -m bench.peers.runs --dsn URL`.

`run_peer` is what a benchmark calls, once per peer, in the same run as its own measurement. A peer
that cannot run here is reported as `{"peer": ..., "skipped": reason}`, never left out.
"""

import argparse
import json
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-bench" / "bin" / "python"
# Enough jobs for some five seconds each on two cores.
JOBS = {"pgqueuer": 40_000, "dbos": 2_500, "procrastinate": 2_500, "celery_redis": 3_500}
LIMIT_S = 20.0
_AROUND_S = 90.0  # start, warm-up, stop; and the first installation of Redis
_STOP_S = 15.0
_REASON_CHARS = 500


def run_peer(
    peer: str, dsn: str, *, jobs: int | None = None, workers: int = 1, payload: int = 200
) -> dict[str, Any]:
    """Measure one peer on a fresh database of the server of `dsn`, a superuser's libpq URL.

    Returns peer, version, settings, jobs, seconds, jobs_per_s, cpu_s_python, cpu_s_server, notes.
    """
    options = {
        "--dsn": dsn,
        "--jobs": str(jobs or JOBS[peer]),
        "--payload": str(payload),
        "--workers": str(workers),
        "--limit-s": str(LIMIT_S),
    }
    words = [word for pair in options.items() for word in pair]
    return {"peer": peer, **_report([f"bench.peers.{peer}", *words], LIMIT_S + _AROUND_S)}


def run_raw(dsn: str, seconds: float = 5.0, **options: float | str) -> dict[str, Any]:
    """The raw yardstick over asyncpg, in a process of its own; `options` as in `bench.raw.run`."""
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    command = ["bench.raw", "--dsn", dsn, "--seconds", str(seconds), *words]
    return {"peer": "raw", **_report(command, seconds + _AROUND_S)}


def run_all(dsn: str, peers: Sequence[str] = tuple(JOBS), workers: int = 1) -> list[dict[str, Any]]:
    """All peers, one after the other."""
    return [run_peer(peer, dsn, workers=workers) for peer in peers]


def _report(words: list[str], limit_s: float) -> dict[str, Any]:
    if not PYTHON.exists():
        return {"skipped": "there is no .venv-bench; run `make bench-install` first"}
    process = subprocess.Popen(
        [PYTHON, "-m", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        _end(process)
        return {"skipped": f"no result after {limit_s:.0f} s"}
    except BaseException:
        _end(process)
        raise
    if process.returncode != 0:
        return {"skipped": errors.strip()[-_REASON_CHARS:] or f"exit code {process.returncode}"}
    report: dict[str, Any] = json.loads(output.splitlines()[-1])
    return report


def _end(process: subprocess.Popen[str]) -> None:
    # As Ctrl-C does: the peer then stops its own workers and drops its database.
    process.send_signal(signal.SIGINT)
    try:
        process.communicate(timeout=_STOP_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def main() -> None:
    parser = argparse.ArgumentParser(description="The peers and the raw yardstick, one by one.")
    parser.add_argument("--dsn", required=True, help="a superuser's URL of a durable server")
    parser.add_argument("--workers", type=int, choices=(1, 2), default=1)
    parser.add_argument("peers", nargs="*", default=list(JOBS))
    args = parser.parse_args()
    reports = {peer: run_peer(peer, args.dsn, workers=args.workers) for peer in args.peers}
    print(json.dumps({**reports, "raw": run_raw(args.dsn)}))


if __name__ == "__main__":
    main()
