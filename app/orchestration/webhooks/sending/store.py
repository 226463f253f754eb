"""The SQL of deliveries under way. Leases go by the database's clock only.

An attempt is known by its number: a result is taken only while nobody has claimed the delivery
again. Endpoints take turns, so that none waits behind the messages of another.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import orjson

from app.kernel.uow import UnitOfWork
from app.orchestration.webhooks.types import Attempt, Result

LOOKED_AT = 200
"""Endpoints with pending deliveries that one claim looks at."""
FIRST = UUID(int=0)

# A loose index scan finds the endpoints: one probe each, however many deliveries one has. The
# offset keeps the planner from reading all endpoints for each of them.
_CLAIM = """
with recursive hooks as (
  (select webhook_id from app.webhook_delivery
    where status = 'pending' and webhook_id > :after order by webhook_id limit 1)
  union all
  select (select d.webhook_id from app.webhook_delivery d
    where d.status = 'pending' and d.webhook_id > h.webhook_id order by d.webhook_id limit 1)
  from hooks h where h.webhook_id is not null),
seen as materialized (
  select webhook_id from hooks where webhook_id is not null limit :looked_at),
due as materialized (
  select d.delivery_id, e.url, e.sealed, e.previous
  from seen
  cross join lateral (
    select h.url, s.sealed, case when s.previous_until > now() then s.previous end as previous
    from app.webhook_endpoint h join app.webhook_secret s using (webhook_id)
    where h.webhook_id = seen.webhook_id and h.is_enabled and s.key_id = :key
      and (h.failing_since is not null) = :is_failing
      and h.webhook_id <> all(cast(:busy as uuid[])) offset 0) as e
  cross join lateral (
    select w.delivery_id from app.webhook_delivery w
    where w.webhook_id = seen.webhook_id and w.status = 'pending' and w.next_at <= now()
    order by w.next_at limit :each for update skip locked) as d
  limit :room),
taken as (
  update app.webhook_delivery w set attempts = attempts + 1, is_leased = true,
    next_at = now() + make_interval(secs => :lease_s)
  from due where w.delivery_id = due.delivery_id
  returning w.delivery_id, w.webhook_id, w.attempts, w.attempts - w.attempts_before as turn,
    w.type, w.data, w.created_at, due.url, due.sealed, due.previous)
select s.amount, s.last, taken.* from (
  select count(*) as amount, (select webhook_id from seen order by webhook_id desc limit 1) as last
  from seen) as s
left join taken on true
"""

# Rows are locked in one order by all who mark: deliveries by id, then endpoints by id.
_MARK = """
with done as materialized (
  select * from json_to_recordset(cast(:rows as json)) as d(delivery_id uuid, attempt int,
    status text, code int, error text, wait_s float8, is_gone bool)),
locked as materialized (
  select w.delivery_id from done d join app.webhook_delivery w using (delivery_id)
  where w.attempts = d.attempt and w.is_leased order by w.delivery_id for update of w),
marked as (
  update app.webhook_delivery w set status = d.status, is_leased = false, last_status = d.code,
    last_error = d.error,
    next_at = case when d.status = 'pending' then now() + make_interval(secs => d.wait_s) end,
    delivered_at = case when d.status = 'delivered' then now() end
  from locked l join done d using (delivery_id) where w.delivery_id = l.delivery_id
  returning w.webhook_id, d.status = 'delivered' as is_good, d.is_gone),
told as materialized (
  select webhook_id, bool_or(is_good) as is_good, bool_or(is_gone) as is_gone
  from marked group by webhook_id),
judged as materialized (
  select e.webhook_id, t.is_good, t.is_gone,
    coalesce(not t.is_good and e.failing_since < now() - make_interval(days => :days), false)
      as is_over
  from told t join app.webhook_endpoint e using (webhook_id)
  where e.is_enabled and (t.is_gone or t.is_good = (e.failing_since is not null)
    or e.failing_since < now() - make_interval(days => :days))
  order by e.webhook_id for update of e),
changed as (
  update app.webhook_endpoint e set
    failing_since = case when j.is_good then null else coalesce(e.failing_since, now()) end,
    is_enabled = not (j.is_gone or j.is_over),
    disabled_reason = case when j.is_gone then 'It answered with HTTP 410 (gone).'
      when j.is_over then 'Nothing could be delivered for ' || :days || ' days.' end
  from judged j where e.webhook_id = j.webhook_id
  returning e.webhook_id, e.is_enabled)
select webhook_id from changed where not is_enabled
"""


@dataclass(frozen=True, slots=True)
class Claim:
    """What to claim: so many of each endpoint, so many in all, no more of busy endpoints.

    `key` names the key that opens the secrets. Endpoints come in the order of their ids behind
    `after`; either those that fail or those that do not.
    """

    is_failing: bool
    each: int
    room: int
    lease_s: float
    key: str
    after: UUID = FIRST
    busy: Sequence[UUID] = ()


async def claim(uow: UnitOfWork, asked: Claim) -> tuple[list[Attempt], UUID]:
    """Lease due deliveries; also gives the `after` of the next claim (`FIRST`: from the start)."""
    rows = await uow.execute(
        _CLAIM,
        {
            "after": asked.after,
            "looked_at": LOOKED_AT,
            "is_failing": asked.is_failing,
            "each": asked.each,
            "room": asked.room,
            "lease_s": asked.lease_s,
            "key": asked.key,
            "busy": list(asked.busy),
        },
    )
    found = rows.all()
    attempts = [
        Attempt(
            row.delivery_id,
            row.webhook_id,
            row.attempts,
            row.turn,
            row.type,
            row.data,
            row.created_at,
            row.url,
            tuple(bytes(one) for one in (row.sealed, row.previous) if one is not None),
        )
        for row in found
        if row.delivery_id is not None
    ]
    if len(attempts) == asked.room:
        return attempts, max(attempt.webhook_id for attempt in attempts)
    return attempts, found[0].last if found[0].amount == LOOKED_AT else FIRST


async def mark(uow: UnitOfWork, results: Sequence[Result], days: int) -> list[UUID]:
    """Note what became of attempts, unless their lease was lost; returns endpoints disabled now.

    An endpoint is disabled if it is gone, or after `days` of nothing but failures.
    """
    rows = [
        {
            "delivery_id": result.attempt.delivery_id,
            "attempt": result.attempt.attempt,
            "status": result.status,
            "code": result.code,
            "error": result.error,
            "wait_s": result.wait_s,
            "is_gone": result.is_gone,
        }
        for result in results
    ]
    found = await uow.execute(_MARK, {"rows": orjson.dumps(rows).decode(), "days": days})
    return [row.webhook_id for row in found]
