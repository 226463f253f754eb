"""The SQL between jobs and their holds: who lives, and what the books of both must agree on."""

from collections.abc import Collection
from uuid import UUID

from app.kernel.uow import UnitOfWork

# An open hold belongs to a live job (its own or a top-up) or has a lifetime of its own.
_STRAY = """
select h.hold_id as id, h.user_id
from app.hold h
left join app.job_hold l on l.hold_id = h.hold_id
where h.expires_at is null
  and not exists (select 1 from app.settlement s where s.hold_id = h.hold_id)
  and not exists (select 1 from app.job_queue q where q.job_id = coalesce(l.job_id, h.hold_id))
order by 1 limit :limit
"""

_UNHELD = """
select q.job_id as id, q.user_id
from app.job_queue q
where not exists (
  select 1 from app.hold h where h.hold_id = q.job_id and h.user_id = q.user_id
    and not exists (select 1 from app.settlement s where s.hold_id = h.hold_id))
order by 1 limit :limit
"""


async def living(uow: UnitOfWork, jobs: Collection[UUID]) -> set[UUID]:
    """Those of the jobs that have not ended."""
    rows = await uow.execute(
        "select job_id from app.job_queue where job_id = any(:jobs)", {"jobs": sorted(jobs)}
    )
    return {row.job_id for row in rows}


async def stray_holds(uow: UnitOfWork, limit: int) -> list[tuple[UUID, UUID]]:
    """Open holds (hold, user) that no live job keeps."""
    rows = await uow.execute(_STRAY, {"limit": limit})
    return [(row.id, row.user_id) for row in rows]


async def unheld_jobs(uow: UnitOfWork, limit: int) -> list[tuple[UUID, UUID]]:
    """Live jobs (job, user) without an open hold."""
    rows = await uow.execute(_UNHELD, {"limit": limit})
    return [(row.id, row.user_id) for row in rows]
