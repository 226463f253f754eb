"""Makes the workers of this process tell what they end, and when; see `bench.jobs.ended`."""

from pathlib import Path
from typing import Any

from app.kernel.uow import UnitOfWork
from app.orchestration import Lifecycle
from bench.jobs.ended import Slot


def watch(folder: Path, number: int) -> None:
    """From now on this process's workers count what they end."""
    slot, finish_many = Slot(folder, number), Lifecycle.finish_many

    async def counted(self: Lifecycle, uow: UnitOfWork, ends: Any, *rest: Any, **named: Any) -> Any:
        done = await finish_many(self, uow, ends, *rest, **named)
        # An end with a stale token is sampled, too, but there are none in a healthy run.
        uow.after_commit(lambda: slot.note([end.lease.job_id for end in ends], len(done)))
        return done

    Lifecycle.finish_many = counted  # type: ignore[method-assign]
