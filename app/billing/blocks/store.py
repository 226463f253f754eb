"""The SQL of leased credits. Locks: usage ids, wallets by user id, then ledger rows."""

from collections.abc import Iterable, Sequence
from uuid import UUID

import orjson

from app.billing.blocks.types import Charge, Lease, Leased
from app.billing.types import Usage
from app.kernel.uow import UnitOfWork

# A lease takes what is needed, and of a rich wallet up to a quarter: jobs and other processes
# want credits too.
_LEASE = """
with asked as materialized (
  select * from unnest($1::text::uuid[], $2::text::uuid[], $3::text::bigint[], $4::text::bigint[])
    as a(hold_id, user_id, need, most)),
locked as materialized (
  select a.hold_id, a.user_id, a.need, a.most, w.available_micro
  from asked a join app.wallet w on w.user_id = a.user_id order by a.user_id for update of w),
given as materialized (
  select hold_id, user_id, available_micro,
    least(available_micro, greatest(need, least(most, available_micro / 4))) as amount
  from locked),
placed as (
  insert into app.hold (hold_id, user_id, amount_micro, expires_at)
  select hold_id, user_id, amount, now() + make_interval(secs => $5) from given where amount > 0),
moved as (
  update app.wallet w
  set available_micro = w.available_micro - g.amount, held_micro = w.held_micro + g.amount
  from given g where w.user_id = g.user_id and g.amount > 0)
select user_id, amount, available_micro - amount from given
"""

_CHARGE = """
insert into app.call_charge (call_id, hold_id, user_id, amount_micro)
select * from unnest($1::text::uuid[], $2::text::uuid[], $3::text::uuid[], $4::text::bigint[])
"""

_METER = """
with used as materialized (
  select * from json_to_recordset($1::text::json) as u(usage_id uuid, user_id uuid, job_id uuid,
    key text, kind text, subject text, quantities jsonb)),
written as (
  insert into app.usage_event (usage_id, user_id, job_id, key, kind, subject, quantities)
  select usage_id, user_id, job_id, key, kind, subject, quantities from used
  on conflict do nothing returning usage_id)
select usage_id from used except select usage_id from written
"""

_WRITTEN = """
select exists (select from app.hold where hold_id = any($1::text::uuid[]))
  or exists (select from app.call_charge where call_id = any($2::text::uuid[]))
"""

_AMOUNTS = "select user_id, amount_micro from app.hold where hold_id = any($1::text::uuid[])"


def _uuids(values: Iterable[UUID]) -> str:
    return f"{{{','.join([f'{value.int:032x}' for value in values])}}}"


def _numbers(values: Iterable[int]) -> str:
    return f"{{{','.join(map(str, values))}}}"


async def lease(uow: UnitOfWork, asked: Sequence[Lease], lifetime_s: float) -> dict[UUID, Leased]:
    """Set credits aside, one lease a user; a wallet without any gives a lease of nothing."""
    rows = await uow.fetch(
        _LEASE,
        _uuids(one.hold_id for one in asked),
        _uuids(one.user_id for one in asked),
        _numbers(one.need_micro for one in asked),
        _numbers(one.most_micro for one in asked),
        lifetime_s,
    )
    return {user_id: Leased(amount, left) for user_id, amount, left in rows}


async def charge(uow: UnitOfWork, charged: Sequence[tuple[UUID, Charge]]) -> None:
    """Write charges, each with the hold that pays it."""
    await uow.fetch(
        _CHARGE,
        _uuids(one.call_id for _, one in charged),
        _uuids(hold_id for hold_id, _ in charged),
        _uuids(one.user_id for _, one in charged),
        _numbers(one.amount_micro for _, one in charged),
    )


async def meter(uow: UnitOfWork, usages: Sequence[Usage]) -> set[UUID]:
    """Record usage; the ids that were recorded before, which are left as they were."""
    rows = [
        {
            "usage_id": one.usage_id,
            "user_id": one.user_id,
            "job_id": one.job_id,
            "key": one.key,
            "kind": one.kind,
            "subject": one.subject,
            "quantities": dict(one.quantities),
        }
        for one in usages
    ]
    return {usage_id for (usage_id,) in await uow.fetch(_METER, orjson.dumps(rows).decode())}


async def is_written(uow: UnitOfWork, holds: Sequence[UUID], calls: Sequence[UUID]) -> bool:
    """Whether a batch with these ids was committed; it is written as a whole or not at all."""
    return bool((await uow.fetch(_WRITTEN, _uuids(holds), _uuids(calls)))[0][0])


async def leases(uow: UnitOfWork, holds: Sequence[UUID]) -> dict[UUID, Leased]:
    """The leases there are, by user; what the wallets had left is not known."""
    rows = await uow.fetch(_AMOUNTS, _uuids(holds))
    return {user_id: Leased(amount, 0) for user_id, amount in rows}
