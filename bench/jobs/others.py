"""What stands beside the platform in the same run: other engines, the raw loop, stored steps."""

from collections.abc import Mapping
from typing import Any

import uvloop

from bench.figures import tell
from bench.jobs.stage import Options, stage
from bench.peers.runs import JOBS, run_peer
from bench.raw import run as run_raw

_WORKERS = (1, 2)
_RAW_S = 20.0


def peers(_options: Options, found: Mapping[str, Any]) -> dict[str, Any]:
    """Jobs per second of each peer, better of one and two workers, and ours to theirs."""
    with stage() as place:
        speeds = {peer: _best(peer, place.superuser) for peer in JOBS}
    report: dict[str, Any] = dict(speeds)
    ours = found.get("jobs_per_s")
    for peer in ("pgqueuer", "dbos", "procrastinate"):
        theirs = speeds[peer]
        if ours and isinstance(theirs, float | int):
            report[f"vs_{peer}"] = round(ours / theirs, 2)
    return report


def _best(peer: str, dsn: str) -> float | str:
    tell(f"peer {peer}")
    runs = [run_peer(peer, dsn, workers=count) for count in _WORKERS]
    speeds = [round(run["jobs_per_s"]) for run in runs if "jobs_per_s" in run]
    return max(speeds) if speeds else f"skipped: {runs[0].get('skipped', 'no figure')}"


def raw(options: Options, found: Mapping[str, Any]) -> dict[str, Any]:
    """`raw_jobs_per_s`, over the platform's own driver, and `raw_ratio`: ours to it."""
    with stage() as place:
        bare = uvloop.run(run_raw(place.superuser, min(options.seconds, _RAW_S), driver="psycopg"))
    report = {
        "raw_jobs_per_s": round(bare["jobs_per_s"]),
        "raw_cpu_us_per_job": bare["cpu_us_per_job"],
        "raw_wal_bytes_per_job": bare["wal_bytes_per_job"],
    }
    if ours := found.get("jobs_per_s"):
        report["raw_ratio"] = round(ours / bare["jobs_per_s"], 3)
    return report


def dag(options: Options, _found: Mapping[str, Any]) -> dict[str, Any]:
    """`dag_runs_per_s`: workflows of five steps, each step's result stored."""
    try:
        from bench.dag import dag_runs  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        return {"dag_runs_per_s": None, "dag_skipped": str(error)}
    with stage() as place:
        found = uvloop.run(dag_runs(place.dsn, place.home, options.seconds))
    return {name if name.startswith("dag_") else f"dag_{name}": v for name, v in found.items()}
