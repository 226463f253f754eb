"""The SQL of the books. One statement sees one moment of a ledger that goes on moving; what it
sums up PostgreSQL keeps within its `work_mem`, and only discrepancies leave it.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.kernel.uow import UnitOfWork


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """A place where the books do not agree: what is wrong, with which row, and its figures."""

    what: str
    subject: UUID
    user_id: UUID
    figures: Mapping[str, Any]


_OFF = """
with held as (
  select h.user_id, h.hold_id, h.amount_micro, s.captured_micro, s.released_micro,
    s.user_id as settled_for
  from app.hold h left join app.settlement s using (hold_id)),
sums as (
  select user_id, sum(amount_micro) filter (where captured_micro is null) as open,
    sum(captured_micro) as captured
  from held group by 1),
moved as (
  select user_id, sum(case when credit = 'wallet:' || user_id then amount_micro else 0 end
    - case when debit = 'wallet:' || user_id then amount_micro else 0 end) as granted
  from app.transfer group by 1),
topped as (
  select l.job_id, sum(h.amount_micro) as amount
  from app.job_hold l join app.hold h using (hold_id) group by 1),
charged as (
  select hold_id, sum(amount_micro) as amount, min(user_id::text)::uuid as user_id
  from app.call_charge group by 1),
off as (
  select 'a wallet is not the sum of its rows' as what, w.user_id as subject, w.user_id,
    jsonb_build_object('wallet', to_jsonb(w), 'held', s.open, 'captured', s.captured,
      'granted', m.granted) as figures
  from app.wallet w left join sums s using (user_id)
    left join moved m using (user_id)
  where (w.held_micro, w.captured_micro, w.granted_micro) is distinct from
      (coalesce(s.open, 0), coalesce(s.captured, 0), coalesce(m.granted, 0))
    or w.available_micro + w.held_micro + w.captured_micro <> w.granted_micro
    or least(w.available_micro, w.held_micro, w.captured_micro) < 0
  union all
  select 'a hold has no wallet', hold_id, user_id, jsonb_build_object('held', amount_micro)
  from held where not exists (select 1 from app.wallet w where w.user_id = held.user_id)
  union all
  select 'a settlement is not the whole of its hold', hold_id, user_id,
    jsonb_build_object('held', amount_micro, 'captured', captured_micro, 'released', released_micro)
  from held where captured_micro + released_micro <> amount_micro or settled_for <> user_id
  union all
  select 'an account in usage mode is not the sum of its holds', a.job_id, a.user_id,
    jsonb_build_object('account', a.held_micro, 'first', h.amount_micro, 'topped_up', t.amount)
  from app.usage_account a
    left join app.hold h on h.hold_id = a.job_id left join topped t on t.job_id = a.job_id
  where a.held_micro is distinct from h.amount_micro + coalesce(t.amount, 0)
  union all
  select 'a lease is not the sum of its charges', hold_id, c.user_id,
    jsonb_build_object('captured', h.captured_micro, 'charges', c.amount)
  from charged c left join held h using (hold_id)
  where h.captured_micro is distinct from c.amount)
select what, subject, user_id, figures from off order by what, subject limit :limit
"""


# The platform's transactions look rows up by key; sums over all users, joined like that, would
# take the square of their number.
_WIDE = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin")


@asynccontextmanager
async def _wide(uow: UnitOfWork) -> AsyncIterator[None]:
    kept = ", ".join(f"current_setting('{name}')" for name in _WIDE)
    before = (await uow.execute(f"select {kept}")).one()
    await _set(uow, ["on"] * len(_WIDE))
    yield
    await _set(uow, before)


async def _set(uow: UnitOfWork, values: Sequence[str]) -> None:
    pairs = zip(_WIDE, values, strict=True)
    await uow.execute(
        "select " + ", ".join(f"set_config('{name}', '{value}', true)" for name, value in pairs)
    )


async def off_books(uow: UnitOfWork, limit: int) -> list[Discrepancy]:
    """Where the ledger does not agree with itself."""
    async with _wide(uow):
        rows = await uow.execute(_OFF, {"limit": limit})
    return [Discrepancy(row.what, row.subject, row.user_id, row.figures) for row in rows]
