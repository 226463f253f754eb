"""The SQL of usage mode. A job's account is locked after its queue row and before any wallet."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from app.billing.types import PriceKind, Settlement, Usage
from app.billing.usage.rates import Tariff, UsageRate
from app.billing.usage.types import Account, UsageQuote
from app.kernel.ids import new_id
from app.kernel.uow import UnitOfWork

_PUBLISH = """
with plan as (
  insert into app.pricing_plans (plan_id, kind, name, version, mode, amount_micro)
  values (:id, :kind, :name, :version, 'usage', :high)
  on conflict (kind, name, mode, version) do nothing returning plan_id)
insert into app.usage_rate
  (plan_id, kind, subject, unit, per_units, amount_micro, low_units, high_units)
select p.plan_id, r.kind, r.subject, r.unit, r.per_units, r.amount_micro, r.low_units, r.high_units
from plan p, json_to_recordset(cast(:rates as json)) as r(kind text, subject text, unit text,
  per_units bigint, amount_micro bigint, low_units bigint, high_units bigint)
"""

_LATEST = """
select p.version, r.kind, r.subject, r.unit, r.per_units, r.amount_micro, r.low_units, r.high_units
from (select plan_id, version from app.pricing_plans
      where kind = :kind and name = :name and mode = 'usage' order by version desc limit 1) as p
join app.usage_rate r using (plan_id) order by r.kind, r.subject, r.unit
"""

_OPEN = """
insert into app.usage_account (job_id, user_id, rates, cap_micro, first_micro, held_micro)
select job_id, user_id, rates, cap, first, first
from json_to_recordset(cast(:rows as json))
  as a(job_id uuid, user_id uuid, rates jsonb, cap bigint, first bigint)
"""

_METER = """
insert into app.usage_event (usage_id, user_id, job_id, key, kind, subject, quantities)
select usage_id, user_id, job_id, key, kind, subject, quantities
from json_to_recordset(cast(:rows as json)) as u(usage_id uuid, user_id uuid, job_id uuid,
  key text, kind text, subject text, quantities jsonb)
on conflict (job_id, key) do nothing returning job_id, key
"""

_ADD = """
update app.usage_account a
set used_parts = a.used_parts + d.parts, held_micro = a.held_micro + d.held
from json_to_recordset(cast(:rows as json)) as d(job_id uuid, parts numeric, held bigint)
where a.job_id = d.job_id
"""

_LINK = """
insert into app.job_hold (hold_id, job_id, user_id)
select * from unnest(cast(:holds as uuid[]), cast(:jobs as uuid[]), cast(:users as uuid[]))
"""

# In the order in which they were placed: the job's own hold, then its top-ups (ids grow).
_HOLDS = """
select a.job_id, h.hold_id, h.amount_micro
from app.usage_account a
join lateral (
  select a.job_id as hold_id
  union all select l.hold_id from app.job_hold l where l.job_id = a.job_id) as mine on true
join app.hold h on h.hold_id = mine.hold_id
where a.job_id = any(:jobs) order by a.job_id, h.hold_id <> a.job_id, h.hold_id
"""

_EXPIRED = """
select h.hold_id, coalesce(l.job_id, h.hold_id) as job_id
from app.hold h left join app.job_hold l using (hold_id)
where h.expires_at < now()
  and (cast(:after as uuid) is null or h.hold_id > :after)
  and not exists (select 1 from app.settlement s where s.hold_id = h.hold_id)
order by h.hold_id limit :limit
"""


class TopUp(NamedTuple):
    """A hold placed for a running job."""

    hold_id: UUID
    account: Account
    amount_micro: int


def _json(rows: Sequence[Mapping[str, Any]]) -> str:
    return orjson.dumps(rows).decode()


def _rates_json(rates: Sequence[UsageRate]) -> list[dict[str, Any]]:
    return [{name: getattr(rate, name) for name in UsageRate.__slots__} for rate in rates]


async def publish(
    uow: UnitOfWork, kind: PriceKind, name: str, version: int, rates: Sequence[UsageRate]
) -> None:
    """Publish a plan whole; another process that published the version first wins."""
    _, high = Tariff(rates).estimate()
    values = {"id": new_id(), "kind": kind, "name": name, "version": version, "high": high}
    await uow.execute(_PUBLISH, values | {"rates": _json(_rates_json(rates))})


async def latest(
    uow: UnitOfWork, kind: PriceKind, name: str
) -> tuple[int, tuple[UsageRate, ...]] | None:
    """The newest plan's version and rates."""
    rows = (await uow.execute(_LATEST, {"kind": kind, "name": name})).all()
    if not rows:
        return None
    return rows[0].version, tuple(_rate(row) for row in rows)


def _rate(row: Any) -> UsageRate:
    return UsageRate(**{name: getattr(row, name) for name in UsageRate.__slots__})


async def open_accounts(uow: UnitOfWork, opened: Mapping[UUID, tuple[UUID, UsageQuote]]) -> None:
    """Open accounts of jobs: job to user and quote."""
    rows = [
        {
            "job_id": job_id,
            "user_id": user_id,
            "rates": _rates_json(quote.rates),
            "cap": quote.cap_micro,
            "first": quote.amount_micro,
        }
        for job_id, (user_id, quote) in opened.items()
    ]
    await uow.execute(_OPEN, {"rows": _json(rows)})


async def accounts(uow: UnitOfWork, jobs: Collection[UUID]) -> dict[UUID, Account]:
    """The accounts of those jobs that have one; the rows stay locked."""
    rows = await uow.execute(
        """
        select job_id, user_id, rates, cap_micro, first_micro, held_micro, used_parts
        from app.usage_account where job_id = any(:jobs) order by job_id for update
        """,
        {"jobs": sorted(jobs)},
    )
    return {row.job_id: _account(row) for row in rows}


async def account(uow: UnitOfWork, job_id: UUID) -> Account | None:
    """The account of a job, as it stands."""
    rows = await uow.execute(
        """
        select job_id, user_id, rates, cap_micro, first_micro, held_micro, used_parts
        from app.usage_account where job_id = :job
        """,
        {"job": job_id},
    )
    row = rows.one_or_none()
    return None if row is None else _account(row)


def _account(row: Any) -> Account:
    return Account(
        job_id=row.job_id,
        user_id=row.user_id,
        tariff=Tariff(UsageRate(**rate) for rate in row.rates),
        cap_micro=row.cap_micro,
        first_micro=row.first_micro,
        held_micro=row.held_micro,
        used_parts=int(row.used_parts),
    )


async def meter(uow: UnitOfWork, usages: Sequence[Usage]) -> set[tuple[UUID, str]]:
    """Record usage; returns the (job, key) recorded now, not those recorded before."""
    names = Usage._fields
    rows = [
        {name: getattr(usage, name) for name in names} | {"quantities": dict(usage.quantities)}
        for usage in usages
    ]
    made = await uow.execute(_METER, {"rows": _json(rows)})
    return {(row.job_id, row.key) for row in made}


async def is_metered(uow: UnitOfWork, job_id: UUID, key: str) -> bool:
    """Whether the job has recorded this usage."""
    rows = await uow.execute(
        "select 1 from app.usage_event where job_id = :job and key = :key",
        {"job": job_id, "key": key},
    )
    return rows.first() is not None


async def add(uow: UnitOfWork, parts: Mapping[UUID, int]) -> None:
    """Add to the running sums of jobs whose accounts are locked."""
    # As text: there is no largest number of parts.
    rows = [{"job_id": job, "parts": str(more), "held": 0} for job, more in parts.items()]
    await uow.execute(_ADD, {"rows": _json(rows)})


async def link(uow: UnitOfWork, topups: Sequence[TopUp]) -> None:
    """Note holds that were placed for running jobs."""
    await uow.execute(
        _LINK,
        {
            "holds": [one.hold_id for one in topups],
            "jobs": [one.account.job_id for one in topups],
            "users": [one.account.user_id for one in topups],
        },
    )
    rows = [
        {"job_id": one.account.job_id, "parts": "0", "held": one.amount_micro} for one in topups
    ]
    await uow.execute(_ADD, {"rows": _json(rows)})


async def holds(uow: UnitOfWork, jobs: Collection[UUID]) -> dict[UUID, list[tuple[UUID, int]]]:
    """The holds of jobs in usage mode in the order they were placed, with their amounts."""
    found: dict[UUID, list[tuple[UUID, int]]] = {}
    for row in await uow.execute(_HOLDS, {"jobs": sorted(jobs)}):
        found.setdefault(row.job_id, []).append((row.hold_id, row.amount_micro))
    return found


async def expired(uow: UnitOfWork, after: UUID | None, limit: int) -> dict[UUID, UUID]:
    """Open holds past their lifetime after the id `after`, each with the job it may be of."""
    rows = await uow.execute(_EXPIRED, {"after": after, "limit": limit})
    return {row.hold_id: row.job_id for row in rows}


def split(charge_micro: int, holds: Sequence[tuple[UUID, int]]) -> list[Settlement]:
    """A job's charge over its holds in order; what is left of each goes back."""
    ends = []
    for hold_id, amount in holds:
        part = min(charge_micro, amount)
        charge_micro -= part
        ends.append(Settlement(hold_id, "captured" if part else "released", part))
    return ends
