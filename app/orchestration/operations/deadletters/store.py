"""The SQL of dead letters."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson

from app.kernel.uow import UnitOfWork
from app.orchestration.operations.types import DeadLetter, Redriven

_COUNTED = 10_000

# The limits a job counted against are still known in the transaction that ends it.
_BURY = """
insert into app.dead_letter (job_id, user_id, kind, cause, error, webhook_id, priority, limit_names)
select d.job_id, d.user_id, d.kind, d.cause, d.error, d.webhook_id,
  d.priority, coalesce(s.names, '[]')
from json_to_recordset(cast(:rows as json)) as d(job_id uuid, user_id uuid, kind text, cause text,
  error jsonb, webhook_id uuid, priority smallint)
left join lateral (
  select jsonb_agg(name order by name) as names
  from app.job_slot where job_id = d.job_id) as s on true
on conflict (job_id) do nothing
"""

_SHOWN = """
select job_id, user_id, kind, cause, error, created_at, redriven_as, redriven_at
from app.dead_letter
"""

# The jobs' rows come along: what is queued again is what was queued then, at the price held then.
_TAKE = """
select d.job_id, d.user_id, d.redriven_as, d.priority, d.limit_names, d.webhook_id, j.kind,
  j.project_id, j.workflow_definition as definition, j.price_micro, j.price_version
from app.dead_letter d left join app.processing_jobs j using (job_id)
"""

_COUNTS = """
select cause, kind, count(*) as amount from (
  select cause, kind from app.dead_letter where user_id = :user and redriven_as is null
  limit :most) as open
group by cause, kind order by amount desc, cause, kind
"""


async def bury(uow: UnitOfWork, rows: Sequence[Mapping[str, Any]]) -> None:
    """Keep jobs that end as Dead: job_id, user_id, kind, cause, error, webhook_id, priority."""
    await uow.execute(_BURY, {"rows": orjson.dumps([dict(row) for row in rows]).decode()})


async def list_of(
    uow: UnitOfWork,
    user_id: UUID,
    limit: int,
    before: UUID | None,
    *,
    cause: str | None,
    kind: str | None,
    is_open: bool | None,
) -> list[DeadLetter]:
    """A user's dead letters that fit, newest job first."""
    wanted = {"job_id < :before": before, "cause = :cause": cause, "kind = :kind": kind}
    where = "".join(f" and {one}" for one, value in wanted.items() if value is not None)
    if is_open is not None:
        where += f" and redriven_as is {'' if is_open else 'not '}null"
    rows = await uow.execute(
        f"{_SHOWN} where user_id = :user{where} order by job_id desc limit :limit",
        {"user": user_id, "before": before, "cause": cause, "kind": kind, "limit": limit},
    )
    return [DeadLetter(**row) for row in rows.mappings()]


async def counts(uow: UnitOfWork, user_id: UUID) -> list[tuple[str, str, int]]:
    """Dead letters not redriven, by (cause, kind); of no more than 10,000 of them."""
    rows = await uow.execute(_COUNTS, {"user": user_id, "most": _COUNTED})
    return [(row.cause, row.kind, row.amount) for row in rows]


async def take(uow: UnitOfWork, user_id: UUID, job_id: UUID) -> Any | None:
    """Lock one of a user's dead letters; with its job's row, or without if that is gone."""
    rows = await uow.execute(
        _TAKE + " where d.job_id = :job and d.user_id = :user for update of d",
        {"job": job_id, "user": user_id},
    )
    return rows.one_or_none()


async def take_open(
    uow: UnitOfWork,
    user_id: UUID,
    limit: int,
    after: UUID | None,
    *,
    cause: str | None,
    kind: str | None,
) -> list[Any]:
    """Lock a user's oldest dead letters that fit and are not redriven, in order of their ids."""
    wanted = {"d.job_id > :after": after, "d.cause = :cause": cause, "d.kind = :kind": kind}
    where = "".join(f" and {one}" for one, value in wanted.items() if value is not None)
    rows = await uow.execute(
        f"{_TAKE} where d.user_id = :user and d.redriven_as is null{where}"
        " order by d.job_id limit :limit for update of d",
        {"user": user_id, "after": after, "cause": cause, "kind": kind, "limit": limit},
    )
    return list(rows)


async def link(uow: UnitOfWork, redriven: Sequence[Redriven]) -> None:
    """Note what locked dead letters go on as."""
    await uow.execute(
        """
        update app.dead_letter d set redriven_as = r.new_id, redriven_at = now()
        from unnest(cast(:ids as uuid[]), cast(:new_ids as uuid[])) as r(job_id, new_id)
        where d.job_id = r.job_id and d.redriven_as is null
        """,
        {
            "ids": [one.job_id for one in redriven],
            "new_ids": [one.redriven_as for one in redriven],
        },
    )
