"""The invariants of the ledger, asked of the database itself."""

from app.kernel.principal import SERVICE
from app.kernel.uow import Transactions

_WRONG = """
with granted as (
  select user_id, sum(amount_micro) as total from app.transfer
  where credit = 'wallet:' || user_id group by 1),
held as (
  select h.user_id, sum(h.amount_micro) filter (where s.hold_id is null) as still,
    sum(s.captured_micro) as captured
  from app.hold h left join app.settlement s using (hold_id) group by 1)
select w.user_id, w.available_micro, w.held_micro, w.captured_micro, w.granted_micro
from app.wallet w left join granted g using (user_id) left join held h using (user_id)
where w.granted_micro <> coalesce(g.total, 0)
   or w.held_micro <> coalesce(h.still, 0)
   or w.captured_micro <> coalesce(h.captured, 0)
   or w.available_micro + w.held_micro + w.captured_micro <> w.granted_micro
"""

_SPLIT = """
select hold_id from app.settlement join app.hold using (hold_id)
where captured_micro + released_micro <> amount_micro
"""

_ORPHANS = """
select h.hold_id from app.hold h
left join app.settlement s using (hold_id)
left join app.job_queue q on q.job_id = h.hold_id
join app.processing_jobs j on j.job_id = h.hold_id
where s.hold_id is null and q.job_id is null
"""


async def assert_balanced(transactions: Transactions) -> None:
    """Every wallet is the projection of its rows; every hold is whole; none has lost its job."""
    async with transactions.begin(SERVICE) as uow:
        for query in (_WRONG, _SPLIT, _ORPHANS):
            assert (await uow.execute(query)).all() == []
