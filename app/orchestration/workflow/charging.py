"""What runs are charged that somebody ended from outside: cancelled, or given up as failed.

A run that comes to its own end knows what it did. Of any other the stored steps say it, so that
it does not matter who ends it: its worker, or its owner while it waits and nobody has it.
"""

from collections.abc import Sequence
from uuid import UUID

from app.kernel.errors import AppError
from app.kernel.uow import UnitOfWork
from app.orchestration.types import End
from app.orchestration.workflow.envelope import Envelope
from app.orchestration.workflow.pricing import charge_micro
from app.orchestration.workflow.progress import store
from app.orchestration.workflow.steps import StepResult
from app.orchestration.workflow.validation import Plans

KIND = "workflow"
_ROOM = 2**20


class StepCharges:
    """Prices the steps of runs in usage mode that end without having said what they cost."""

    def __init__(self) -> None:
        self._plans = Plans(_ROOM)

    async def of(self, uow: UnitOfWork, ends: Sequence[End]) -> Sequence[End]:
        """The ends, in order, with what those runs are charged; Dead is free."""
        open_ends = [end for end in ends if _is_open(end)]
        if not open_ends:
            return ends
        done = await store.successes(uow, [end.lease.job_id for end in open_ends])
        priced = {end.lease.job_id: self._charge(end, done) for end in open_ends}
        return [
            end._replace(charge_micro=priced[end.lease.job_id]) if _is_open(end) else end
            for end in ends
        ]

    def _charge(self, end: End, done: dict[UUID, list[str]]) -> int | None:
        job = end.lease.job
        try:
            plan = self._plans.get(Envelope.of(job.definition).definition)
        except AppError:
            # A definition that is no plan any more has run no step.
            return None
        results = {path: StepResult("Success") for path in done.get(job.job_id, ())}
        charge = charge_micro(plan, job.definition, results, is_success=False)
        return None if charge is None else min(charge, job.price_micro)


def _is_open(end: End) -> bool:
    # Most ends are successes: one comparison each.
    if end.status == "Success" or end.status == "Dead" or end.charge_micro is not None:
        return False
    job = end.lease.job
    is_usage = job.definition.get("billing") == "usage" and "prices" in job.definition
    return job.kind == KIND and is_usage
