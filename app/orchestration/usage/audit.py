"""The books of jobs and credits together, on a live database."""

from collections.abc import Collection
from uuid import UUID

from app.billing import Billing, Discrepancy
from app.kernel.uow import UnitOfWork
from app.orchestration.usage import store

_PAGE = 1000


async def audit(billing: Billing, uow: UnitOfWork, *, most: int = 100) -> list[Discrepancy]:
    """Where wallets, holds, settlements and live jobs do not agree; `most` of them at most.

    Every wallet is the projection of its transfers, holds and settlements (`Billing.audit`);
    no hold is open without a live job or a lifetime, no job lives without its hold.
    """
    found = await billing.audit(uow, most=most)
    after: UUID | None = None
    while len(found) < most and (users := await billing.holders(uow, after, _PAGE)):
        found += await _astray(uow, users, most - len(found))
        after = users[-1]
    return found[:most]


async def _astray(uow: UnitOfWork, users: Collection[UUID], limit: int) -> list[Discrepancy]:
    stray = await store.stray_holds(uow, users, limit)
    unheld = await store.unheld_jobs(uow, users, limit)
    return [
        *(Discrepancy("an open hold has no live job", one, user, {}) for one, user in stray),
        *(Discrepancy("a live job has no open hold", one, user, {}) for one, user in unheld),
    ]
