"""The books of jobs and credits together, on a live database."""

from app.billing import Billing, Discrepancy
from app.kernel.uow import UnitOfWork
from app.orchestration.usage import store


async def audit(billing: Billing, uow: UnitOfWork, *, most: int = 100) -> list[Discrepancy]:
    """Where wallets, holds, settlements and live jobs do not agree; `most` of them at most.

    Every wallet is the projection of its transfers, holds and settlements (`Billing.audit`);
    no hold is open without a live job or a lifetime, no job lives without its hold.
    """
    found = await billing.audit(uow, most=most)
    stray = await store.stray_holds(uow, most)
    unheld = await store.unheld_jobs(uow, most)
    found += [Discrepancy("an open hold has no live job", one, user, {}) for one, user in stray]
    found += [Discrepancy("a live job has no open hold", one, user, {}) for one, user in unheld]
    return found[:most]
