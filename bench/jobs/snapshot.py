"""An old snapshot held open: what is dead cannot be removed, what is live must still be found."""

from collections.abc import Mapping
from typing import Any

import psycopg
import uvloop

from bench.jobs.closed import closed
from bench.jobs.load import Closed, Window, pick_evenly
from bench.jobs.stage import Options, Rig, stage


def held_snapshot(options: Options, found: Mapping[str, Any]) -> dict[str, Any]:
    """`held_snapshot_ratio`: to the normal window of the same run and length, or one made here."""
    normal = found.get("jobs_per_s") or closed(options).per_s
    held: Window = uvloop.run(_run(options))
    return {
        "held_snapshot_per_s": held.per_s,
        "held_snapshot_ratio": round(held.per_s / normal, 3),
        "held_snapshot_dead_rows_end": held.after.dead_rows,
    }


async def _run(options: Options) -> Window:
    with stage() as place:
        # Taken before the first job and held past the last one.
        async with (
            Rig.over(place, options) as rig,
            await psycopg.AsyncConnection.connect(place.superuser) as holder,
        ):
            await holder.set_isolation_level(psycopg.IsolationLevel.REPEATABLE_READ)
            await holder.execute("select count(*) from app.job_queue")
            return await Closed(rig, options, pick_evenly(rig.users)).run(options.seconds)
