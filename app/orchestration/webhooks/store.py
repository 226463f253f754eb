"""The SQL of endpoints and what their owners see of deliveries."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson

from app.kernel.uow import UnitOfWork
from app.orchestration.webhooks.types import Delivery, Endpoint

_COLUMNS = """webhook_id, user_id, url, description, is_enabled, disabled_reason, failing_since,
  created_at"""
_ENDPOINT = f"select {_COLUMNS} from app.webhook_endpoint"

_SHOWN = """delivery_id, webhook_id, job_id, type, status, attempts, last_status, last_error,
  next_at, created_at, delivered_at"""

# An endpoint that was deleted since is told nothing; one that is disabled is told later.
_ANNOUNCE = """
insert into app.webhook_delivery (delivery_id, webhook_id, user_id, job_id, type, data)
select a.delivery_id, e.webhook_id, e.user_id, a.job_id, a.type,
  a.data || jsonb_build_object('charged_micro', coalesce(j.charged_micro, 0))
from json_to_recordset($1::json)
  as a(delivery_id uuid, webhook_id uuid, user_id uuid, job_id uuid, type text, data jsonb)
join app.webhook_endpoint e on e.webhook_id = a.webhook_id and e.user_id = a.user_id
join app.jobs j on j.job_id = a.job_id
"""

_ROTATE = """
update app.webhook_secret set
  previous = case when key_id = :key then sealed end,
  previous_until = now() + make_interval(secs => :overlap_s), sealed = :sealed, key_id = :key
where webhook_id = :webhook
"""

# One that is being sent at this moment is left alone; one that waits goes at once.
_AGAIN = f"""
update app.webhook_delivery set
  attempts_before = case when status = 'pending' then attempts_before else attempts end,
  status = 'pending', delivered_at = null,
  next_at = case when is_leased then next_at else now() end
where delivery_id = :delivery and webhook_id = :webhook and user_id = :user
returning {_SHOWN}
"""

_FORGET = """
delete from app.webhook_delivery where delivery_id = any(array(
  select delivery_id from (
    select delivery_id, created_at from app.webhook_delivery
    order by delivery_id limit :limit for update skip locked) as oldest
  where created_at < now() - make_interval(days => :days)))
"""


async def add(
    uow: UnitOfWork,
    user_id: UUID,
    webhook_id: UUID,
    *,
    url: str,
    description: str,
    sealed: tuple[bytes, str],
) -> Endpoint:
    """Insert an endpoint and its secret, with the id of the key it is sealed by."""
    rows = await uow.execute(
        "insert into app.webhook_endpoint (webhook_id, user_id, url, description)"
        f" values (:webhook, :user, :url, :description) returning {_COLUMNS}",
        {"webhook": webhook_id, "user": user_id, "url": url, "description": description},
    )
    endpoint = Endpoint(**rows.mappings().one())
    await uow.execute(
        "insert into app.webhook_secret (webhook_id, sealed, key_id) values (:webhook, :s, :key)",
        {"webhook": webhook_id, "s": sealed[0], "key": sealed[1]},
    )
    return endpoint


async def get(uow: UnitOfWork, user_id: UUID, webhook_id: UUID) -> Endpoint | None:
    """One of a user's endpoints."""
    rows = await uow.execute(
        f"{_ENDPOINT} where webhook_id = :webhook and user_id = :user",
        {"webhook": webhook_id, "user": user_id},
    )
    row = rows.mappings().one_or_none()
    return None if row is None else Endpoint(**row)


async def list_of(
    uow: UnitOfWork, user_id: UUID, limit: int, before: UUID | None
) -> list[Endpoint]:
    """A user's endpoints, newest first."""
    where = "" if before is None else " and webhook_id < :before"
    rows = await uow.execute(
        f"{_ENDPOINT} where user_id = :user{where} order by webhook_id desc limit :limit",
        {"user": user_id, "before": before, "limit": limit},
    )
    return [Endpoint(**row) for row in rows.mappings()]


async def change(
    uow: UnitOfWork,
    user_id: UUID,
    webhook_id: UUID,
    *,
    url: str,
    description: str,
    is_enabled: bool,
) -> bool:
    """Replace what an endpoint says; False if the user has none such."""
    rows = await uow.execute(
        "update app.webhook_endpoint set url = :url, description = :description,"
        " is_enabled = :enabled, disabled_reason = :reason,"
        # Its time begins anew; whether it works is for the next message to show.
        " failing_since = case when failing_since is not null then now() end"
        " where webhook_id = :webhook and user_id = :user returning webhook_id",
        {
            "url": url,
            "description": description,
            "enabled": is_enabled,
            "reason": None if is_enabled else "By its owner.",
            "webhook": webhook_id,
            "user": user_id,
        },
    )
    return rows.one_or_none() is not None


async def remove(uow: UnitOfWork, user_id: UUID, webhook_id: UUID) -> bool:
    """Delete an endpoint and its secret; its deliveries are never claimed again."""
    rows = await uow.execute(
        "delete from app.webhook_endpoint where webhook_id = :webhook and user_id = :user"
        " returning webhook_id",
        {"webhook": webhook_id, "user": user_id},
    )
    return rows.one_or_none() is not None


async def rotate(
    uow: UnitOfWork, webhook_id: UUID, sealed: bytes, key: str, overlap_s: float
) -> None:
    """Put a new secret in place; the one before stays valid for `overlap_s` seconds."""
    await uow.execute(
        _ROTATE, {"webhook": webhook_id, "sealed": sealed, "key": key, "overlap_s": overlap_s}
    )


async def announce(uow: UnitOfWork, rows: Sequence[dict[str, Any]]) -> None:
    """Insert deliveries about jobs that end in this transaction, in one statement."""
    await uow.fetch(_ANNOUNCE, orjson.dumps(rows).decode())


async def ping(
    uow: UnitOfWork, endpoint: Endpoint, delivery_id: UUID, kind: str, data: dict[str, Any]
) -> Delivery:
    """Insert a delivery about nothing, or give the one that is still under way."""
    rows = await uow.execute(
        f"select {_SHOWN} from app.webhook_delivery where webhook_id = :webhook"
        " and status = 'pending' and type = :type limit 1",
        {"webhook": endpoint.webhook_id, "type": kind},
    )
    if (row := rows.mappings().one_or_none()) is not None:
        return Delivery(**row)
    rows = await uow.execute(
        "insert into app.webhook_delivery (delivery_id, webhook_id, user_id, type, data)"
        f" values (:id, :webhook, :user, :type, cast(:data as jsonb)) returning {_SHOWN}",
        {
            "id": delivery_id,
            "webhook": endpoint.webhook_id,
            "user": endpoint.user_id,
            "type": kind,
            "data": orjson.dumps(data).decode(),
        },
    )
    return Delivery(**rows.mappings().one())


async def deliveries(
    uow: UnitOfWork,
    user_id: UUID,
    webhook_id: UUID,
    limit: int,
    before: UUID | None,
    status: str | None,
) -> list[Delivery]:
    """The deliveries to an endpoint, newest first."""
    wanted = {"delivery_id < :before": before, "status = :status": status}
    where = "".join(f" and {one}" for one, value in wanted.items() if value is not None)
    rows = await uow.execute(
        f"select {_SHOWN} from app.webhook_delivery where user_id = :user"
        f" and webhook_id = :webhook{where} order by delivery_id desc limit :limit",
        {
            "user": user_id,
            "webhook": webhook_id,
            "before": before,
            "status": status,
            "limit": limit,
        },
    )
    return [Delivery(**row) for row in rows.mappings()]


async def again(
    uow: UnitOfWork, user_id: UUID, webhook_id: UUID, delivery_id: UUID
) -> Delivery | None:
    """Make a delivery due at once, whatever became of it."""
    rows = await uow.execute(
        _AGAIN, {"delivery": delivery_id, "webhook": webhook_id, "user": user_id}
    )
    row = rows.mappings().one_or_none()
    return None if row is None else Delivery(**row)


async def forget(uow: UnitOfWork, days: int, limit: int) -> int:
    """Delete deliveries older than `days`, looking at the `limit` oldest; returns how many."""
    return (await uow.execute(_FORGET, {"days": days, "limit": limit})).rowcount
