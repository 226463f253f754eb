"""The invariants of the ledger, asked of the database itself.

Written apart from `Billing.audit`, which asks much the same of a live platform: a mistake in one
does not hide in the other.
"""

from dataclasses import dataclass
from typing import Any

import psycopg

from app.kernel.principal import SERVICE
from app.kernel.uow import Transactions

# Every transfer has two legs; all accounts together hold nothing.
_DOUBLE = """
select 'debits are not credits' as what, sum(amount)::text as id from (
  select credit as account, amount_micro as amount from app.transfer
  union all select debit, -amount_micro from app.transfer) as legs
having sum(amount) <> 0
"""

_WALLETS = """
with moved as (
  select account, sum(amount) as total from (
    select credit as account, amount_micro as amount from app.transfer
    union all select debit, -amount_micro from app.transfer) as legs group by 1),
held as (
  select h.user_id, sum(h.amount_micro) filter (where s.hold_id is null) as still,
    sum(s.captured_micro) as captured
  from app.hold h left join app.settlement s using (hold_id) group by 1)
select 'a wallet is not the projection of its rows', user_id::text
from app.wallet w full join held h using (user_id)
  left join moved m on m.account = 'wallet:' || user_id
where w.user_id is null
   or w.granted_micro <> coalesce(m.total, 0)
   or w.held_micro <> coalesce(h.still, 0)
   or w.captured_micro <> coalesce(h.captured, 0)
   or w.available_micro + w.held_micro + w.captured_micro <> w.granted_micro
   or least(w.available_micro, w.held_micro, w.captured_micro) < 0
"""

_SPLIT = """
select 'a settlement is not the whole of its hold', hold_id::text
from app.settlement s full join app.hold h using (hold_id)
where h.hold_id is null or s.captured_micro + s.released_micro <> h.amount_micro
   or s.user_id <> h.user_id
"""

# A hold with a lifetime is a tool call's and ends by itself; any other is a live job's.
_STRAYS = """
select 'an open hold has no live job', h.hold_id::text
from app.hold h
left join app.settlement s using (hold_id)
left join app.job_hold l using (hold_id)
left join app.job_queue q on q.job_id = coalesce(l.job_id, h.hold_id)
where s.hold_id is null and q.job_id is null and h.expires_at is null
"""

_UNHELD = """
select 'a live job has no open hold', q.job_id::text
from app.job_queue q
left join app.hold h on h.hold_id = q.job_id
left join app.settlement s using (hold_id)
where h.hold_id is null or s.hold_id is not null
"""

_ACCOUNTS = """
with all_holds as (
  select job_id as hold_id, job_id from app.usage_account
  union all select hold_id, job_id from app.job_hold),
summed as (
  select a.job_id, sum(h.amount_micro) as held, sum(s.captured_micro) as captured,
    count(*) filter (where s.hold_id is null) as still, count(*) as holds
  from all_holds a join app.hold h using (hold_id) left join app.settlement s using (hold_id)
  group by 1)
select 'an account in usage mode does not agree with its holds', job_id::text
from app.usage_account a full join summed s using (job_id)
where a.job_id is null or a.held_micro is distinct from s.held or a.held_micro > a.cap_micro
   or s.captured > a.held_micro or s.still not in (0, s.holds)
"""

_JOBS = """
select 'a job that has ended is still queued, or the reverse', j.job_id::text
from app.processing_jobs j left join app.job_queue q using (job_id)
where (j.end_time is null) <> (q.job_id is not null)
"""

_CHARGES = """
select 'a lease is not the sum of its charges', coalesce(c.hold_id, s.hold_id)::text
from (select hold_id, sum(amount_micro) as total, count(distinct user_id) as users
      from app.call_charge group by 1) as c
left join app.settlement s using (hold_id)
where s.captured_micro is distinct from c.total or c.users <> 1
"""

_ALL = " union all ".join(
    f"({query})"
    for query in (_DOUBLE, _WALLETS, _SPLIT, _STRAYS, _UNHELD, _ACCOUNTS, _CHARGES, _JOBS)
)

_ANY = "select " + " or ".join(
    f"exists (select from app.{table})"
    for table in ("wallet", "hold", "settlement", "transfer", "job_queue", "usage_account")
)


@dataclass(frozen=True)
class Off:
    what: str
    subject: str


async def assert_balanced(transactions: Transactions) -> None:
    """Every wallet is the projection of its rows; holds and live jobs belong together."""
    async with transactions.begin(SERVICE) as uow:
        assert [Off(*row) for row in await uow.execute(_ALL)] == []


def off_books(dsn: str) -> list[Off]:
    """Where the books of a database do not agree; `dsn` reads past row-level security."""
    with psycopg.connect(dsn, autocommit=True, options="-c jit=off") as conn:
        # Most tests have no books, and planning the questions takes longer than answering them.
        if conn.execute(_ANY).fetchone() == (False,):
            return []
        found: list[tuple[Any, ...]] = conn.execute(_ALL).fetchall()
    return [Off(*row) for row in found]
