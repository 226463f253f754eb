"""Closed-loop figures: 1,000 users, lists, one hot user, 90 % of the load from one user."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import uvloop

from bench.jobs.load import Closed, Pick, Window, pick_evenly
from bench.jobs.stage import USERS, Options, Rig, stage

_LIST = 250
_TEN_S = 10
_NOISE_ROWS = 10_000
_GROWTH = 1.5


def throughput(options: Options, _found: Mapping[str, Any]) -> dict[str, Any]:
    """`jobs_per_s`, what a job costs, and how even the run was; then `jobs_per_s_lists`."""
    window = closed(options)
    return {
        "jobs_per_s": window.per_s,
        "seconds": round(window.seconds, 1),
        "cpu_us_per_job": window.cpu_us(),
        "wal_bytes_per_job": window.wal_bytes(),
        **_by_tens(window.series),
        **_dead_rows(window),
        "jobs_per_s_lists": closed(options, size=_LIST).per_s,
    }


def one_user(options: Options, _found: Mapping[str, Any]) -> dict[str, Any]:
    """`hot_user_jobs_per_s` and `skewed_jobs_per_s`."""
    return {
        "hot_user_jobs_per_s": closed(options, users=1).per_s,
        "skewed_jobs_per_s": closed(options, is_skewed=True).per_s,
    }


def closed(
    options: Options, *, users: int = USERS, size: int = 0, is_skewed: bool = False
) -> Window:
    """One window on a fresh hub."""

    async def run() -> Window:
        with stage() as place:
            async with Rig.over(place, options, users=users) as rig:
                pick = _skewed(rig) if is_skewed else pick_evenly(rig.users)
                return await Closed(rig, options, pick, size=size).run(options.seconds)

    window: Window = uvloop.run(run())
    return window


def _skewed(rig: Rig) -> Pick:
    """Nine of ten jobs are the first user's."""
    users = rig.users
    return lambda number: users[0] if number % 10 else users[number // 10 % len(users)]


def _by_tens(series: list[int]) -> dict[str, Any]:
    """Jobs per second of each ten seconds since the first job, on empty tables."""
    marks = [0, *series[_TEN_S - 1 :: _TEN_S]]
    speeds = [round((b - a) / _TEN_S) for a, b in pairwise(marks)]
    if not speeds:
        return {"by_ten_seconds": []}
    return {
        "by_ten_seconds": speeds,
        "first_to_last_ten_seconds": round(speeds[-1] / max(speeds[0], 1), 2),
    }


def _dead_rows(window: Window) -> dict[str, Any]:
    """Dead rows come and go with vacuum; they grow if the last third's peak outgrows the middle's.

    The queue and the wallets, whose rows change all the time, must not grow on disk either.
    """
    third = len(window.dead) // 3
    is_growing = None
    if third:
        middle, last = max(window.dead[third:-third]), max(window.dead[-third:])
        is_growing = last > _GROWTH * middle + _NOISE_ROWS
    return {
        "dead_rows_start": window.before.dead_rows,
        "dead_rows_end": window.after.dead_rows,
        "dead_rows_peak": max(window.dead),
        "is_dead_rows_growing": is_growing,
        "queue_and_wallet_bytes_start": window.before.hot_bytes,
        "queue_and_wallet_bytes_end": window.after.hot_bytes,
    }
