"""Both dispatchers under the same load in the same run; the last line is one JSON object.

    python -m bench.dispatch [--seconds 20] [--workers 2] [--rounds 1]

For each member: `jobs_per_s` of a closed loop through the Python facade (no-op tool, ledger and
all), what a job costs each process, and idle wake-up from before the submit to the tool's start.
The Redis Cluster (three masters, three replicas) shares the machine with everything else.
"""

import argparse
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import psutil  # type: ignore[import-untyped]

from bench.figures import tell
from bench.jobs.closed import closed
from bench.jobs.stage import Options
from bench.jobs.waking import wake_up
from bench.peers.redis_server import find_program
from bench.redis_cluster import Cluster, redis_cluster

_SETTING = "UAOL_REDIS_URL"


@contextlib.contextmanager
def _chosen(url: str | None) -> Iterator[None]:
    """The setting that the workers started meanwhile inherit."""
    before = os.environ.pop(_SETTING, None)
    if url is not None:
        os.environ[_SETTING] = url
    try:
        yield
    finally:
        os.environ.pop(_SETTING, None)
        if before is not None:
            os.environ[_SETTING] = before


def _cpu_s(cluster: Cluster) -> float:
    pids = [node.process.pid for node in cluster.alive()]
    return float(sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids))


def measure(options: Options, cluster: Cluster, *, is_redis: bool) -> dict[str, Any]:
    """One member's figures, each from a fresh hub."""
    with _chosen(cluster.url if is_redis else None):
        cluster.wipe()
        cpu_s = _cpu_s(cluster)
        window = closed(options)
        found = {
            "jobs_per_s": window.per_s,
            "cpu_us_per_job": window.cpu_us(),
            "wal_bytes_per_job": window.wal_bytes(),
        }
        if is_redis:
            # Warm-up and drain included: the load of both is in the numerator only.
            found["redis_cpu_s"] = round(_cpu_s(cluster) - cpu_s, 1)
        return found | wake_up(options, {})


def run(options: Options, rounds: int) -> dict[str, Any]:
    """Both members in turn, `rounds` times; a list of figures for each."""
    found: dict[str, Any] = {"postgresql": [], "redis": []}
    with redis_cluster(find_program()) as cluster:
        for _ in range(rounds):
            for name, figures in found.items():
                began = time.monotonic()
                figures.append(measure(options, cluster, is_redis=name == "redis"))
                tell(f"{name} took {time.monotonic() - began:.0f} s: {json.dumps(figures[-1])}")
    return found | {"workers": options.workers, "seconds": options.seconds}


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(prog="python -m bench.dispatch", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="window of the closed loop")
    parser.add_argument("--workers", type=int, default=2, help="worker processes")
    parser.add_argument("--rounds", type=int, default=1, help="how often each is measured")
    given = parser.parse_args()
    options = Options(seconds=given.seconds, workers=given.workers)
    print(json.dumps(run(options, given.rounds)))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
