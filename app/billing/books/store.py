"""The SQL of the books. Users are looked at by the page, so that neither side needs much memory;
a page is one statement and so sees one moment of a ledger that goes on moving.
"""

from collections.abc import Collection, Mapping
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
with who as (select unnest(cast(:users as uuid[])) as user_id),
held as (
  select h.user_id, h.hold_id, h.amount_micro, s.captured_micro, s.released_micro,
    s.user_id as settled_for
  from app.hold h left join app.settlement s using (hold_id)
  where h.user_id in (select user_id from who)),
sums as (
  select user_id, sum(amount_micro) filter (where captured_micro is null) as open,
    sum(captured_micro) as captured
  from held group by 1),
moved as (
  select user_id, sum(case when credit = 'wallet:' || user_id then amount_micro else 0 end
    - case when debit = 'wallet:' || user_id then amount_micro else 0 end) as granted
  from app.transfer where user_id in (select user_id from who) group by 1),
topped as (
  select l.job_id, sum(h.amount_micro) as amount
  from app.job_hold l join app.hold h using (hold_id)
  where l.user_id in (select user_id from who) group by 1),
off as (
  select 'a wallet is not the sum of its rows' as what, w.user_id as subject, w.user_id,
    jsonb_build_object('wallet', to_jsonb(w), 'held', s.open, 'captured', s.captured,
      'granted', m.granted) as figures
  from app.wallet w join who using (user_id) left join sums s using (user_id)
    left join moved m using (user_id)
  where (w.held_micro, w.captured_micro, w.granted_micro) is distinct from
      (coalesce(s.open, 0), coalesce(s.captured, 0), coalesce(m.granted, 0))
    or w.available_micro + w.held_micro + w.captured_micro <> w.granted_micro
    or least(w.available_micro, w.held_micro, w.captured_micro) < 0
  union all
  select 'a settlement is not the whole of its hold', hold_id, user_id,
    jsonb_build_object('held', amount_micro, 'captured', captured_micro, 'released', released_micro)
  from held where captured_micro + released_micro <> amount_micro or settled_for <> user_id
  union all
  select 'an account in usage mode is not the sum of its holds', a.job_id, a.user_id,
    jsonb_build_object('account', a.held_micro, 'first', h.amount_micro, 'topped_up', t.amount)
  from app.usage_account a join who using (user_id)
    left join app.hold h on h.hold_id = a.job_id left join topped t on t.job_id = a.job_id
  where a.held_micro is distinct from h.amount_micro + coalesce(t.amount, 0))
select what, subject, user_id, figures from off order by what, subject limit :limit
"""

_WITHOUT_WALLET = """
select 'a hold has no wallet' as what, h.hold_id as subject, h.user_id,
  jsonb_build_object('amount_micro', h.amount_micro) as figures
from app.hold h where not exists (select 1 from app.wallet w where w.user_id = h.user_id)
limit :limit
"""


async def holders(uow: UnitOfWork, after: UUID | None, limit: int) -> list[UUID]:
    """Users with a wallet, by id, beyond `after`."""
    # Only a condition that is asked for: a plan for "or is null" would fit neither.
    where = "" if after is None else "where user_id > :after"
    rows = await uow.execute(
        f"select user_id from app.wallet {where} order by user_id limit :limit",
        {"after": after, "limit": limit},
    )
    return [row.user_id for row in rows]


async def off_books(uow: UnitOfWork, users: Collection[UUID], limit: int) -> list[Discrepancy]:
    """Where the ledger of these users does not agree with itself."""
    rows = await uow.execute(_OFF, {"users": list(users), "limit": limit})
    return [Discrepancy(row.what, row.subject, row.user_id, row.figures) for row in rows]


async def without_wallet(uow: UnitOfWork, limit: int) -> list[Discrepancy]:
    """Holds of users who have no wallet."""
    rows = await uow.execute(_WITHOUT_WALLET, {"limit": limit})
    return [Discrepancy(row.what, row.subject, row.user_id, row.figures) for row in rows]
