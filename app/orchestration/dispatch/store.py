"""The SQL of the relay: the head of the ready queue, which is all that a stream may hold."""

from collections.abc import Sequence
from uuid import UUID

from app.kernel.uow import UnitOfWork

# One head per kind, so that a million jobs of one kind hide none of another.
_HEADS = """
select k.kind, head.job_id
from unnest(cast(:kinds as text[])) as k(kind)
cross join lateral (
  select job_id from app.job_queue q
  where q.kind = k.kind and q.place is not null
    and (q.lease_until is null or q.lease_until < now())
  order by q.place limit :limit) as head
where not exists (select from app.queue_pause p where p.kind = k.kind)
"""


async def heads(uow: UnitOfWork, kinds: Sequence[str], limit: int) -> list[tuple[str, UUID]]:
    """(kind, job) of up to `limit` ready jobs of each kind that is not paused, in fair order."""
    rows = await uow.execute(_HEADS, {"kinds": list(kinds), "limit": limit})
    return [(row.kind, row.job_id) for row in rows]
