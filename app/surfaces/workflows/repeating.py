"""Runs made of runs that have ended: replay from a step, fork with something changed.

The new job takes over the results that still hold, in the transaction that makes it, and is
priced for the rest, and for those of them that nobody was charged for.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal, Scope
from app.orchestration import (
    Agreement,
    Envelope,
    JobView,
    Order,
    Progress,
    StepResult,
    Submitted,
    keep_for_fork,
    keep_for_replay,
    targets_again,
    unpaid_of,
)
from app.surfaces.context import Access, owned
from app.surfaces.services import Services
from app.surfaces.terms import USUAL, Terms
from app.surfaces.told import require_webhook
from app.surfaces.workflows.ordering import Ordering, request_of
from app.surfaces.workflows.payloads import Fork, Named, Replay

Results = Mapping[str, StepResult]
_Taken = tuple[Results, tuple[str, ...]]


class Repeating:
    """Makes jobs of jobs."""

    def __init__(
        self, services: Services, access: Access, ordering: Ordering, progress: Progress
    ) -> None:
        self._services = services
        self._access = access
        self._ordering = ordering
        self._progress = progress

    async def replay(
        self, principal: Principal, job_id: UUID, asked: Replay, terms: Terms = USUAL
    ) -> Submitted:
        """A new run of the same that does a step, and everything after it, again.

        Raises `not_found`, `conflict` for a run that has not ended, `tool_definition_changed`,
        and whatever a new run raises.
        """
        source, results = await self._source(principal, job_id)
        before = Envelope.of(source.definition)
        order = await self._ordering.order(principal, before.definition)
        kept = keep_for_replay(order.plan, asked.from_step, results)
        _check_pins(before, order, kept, is_accepted=asked.accept_changes)
        agreed = Agreement(billing=before.billing, name=before.name, version=before.version)
        what = (order, before.input, agreed)
        return await self._make(principal, source, what, self._taken(source, results, kept), terms)

    async def fork(
        self, principal: Principal, job_id: UUID, asked: Fork, terms: Terms = USUAL
    ) -> Submitted:
        """A new run with another input or definition that does again what that changes.

        Raises as `replay` does.
        """
        source, results = await self._source(principal, job_id)
        before = Envelope.of(source.definition)
        raw, agreed = await self._definition(principal, before, asked)
        order = await self._ordering.order(principal, raw)
        given = asked.input if "input" in asked.model_fields_set else before.input
        await self._ordering.check_input(principal, order, given)
        plan = self._progress.plan(source)
        kept = keep_for_fork(plan, before.input, order.plan, given, results)
        _check_pins(before, order, kept, is_accepted=asked.accept_changes)
        billing = asked.billing or before.billing
        agreed = Agreement(billing=billing, name=agreed.name, version=agreed.version)
        what = (order, given, agreed)
        return await self._make(principal, source, what, self._taken(source, results, kept), terms)

    async def _definition(
        self, principal: Principal, before: Envelope, asked: Fork
    ) -> tuple[Mapping[str, Any], Agreement]:
        if asked.workflow is None:
            return before.definition, Agreement(name=before.name, version=before.version)
        named = Named(workflow=asked.workflow, version=asked.version)
        return await self._ordering.named(principal, named)

    async def _source(self, principal: Principal, job_id: UUID) -> tuple[JobView, Results]:
        principal.require(Scope.JOBS)
        async with self._access.read(principal) as uow:
            job = owned(
                principal, found := await self._services.jobs.get(uow, job_id), found.user_id, "job"
            )
            self._progress.plan(job)
            if not job.is_terminal:
                raise AppError(
                    Code.CONFLICT,
                    f"Job {job_id} has not ended.",
                    hint="Wait for its end, or cancel it first.",
                )
            return job, await self._progress.results(uow, job_id)

    def _taken(self, source: JobView, results: Results, kept: Results) -> _Taken:
        """What is taken over of a run; a failed run that was free has not paid for its steps."""
        charged, plan = source.charged_micro or 0, self._progress.plan(source)
        unpaid = unpaid_of(plan, source.definition, results, charged, kept)
        return kept, tuple(sorted(unpaid))

    async def _make(
        self,
        principal: Principal,
        source: JobView,
        what: tuple[Order, Any, Agreement],
        taken: _Taken,
        terms: Terms,
    ) -> Submitted:
        order, given, agreed = what
        await require_webhook(self._services, self._access, principal, terms.webhook)
        kept, unpaid = taken
        envelope = order.envelope(given, agreed, str(source.job_id), tuple(sorted(kept)), unpaid)
        request = request_of(self._services, principal, order, envelope, kept=kept, terms=terms)
        async with self._access.write(principal) as uow:
            made = await self._services.jobs.submit(uow, request)
            if made.is_new and kept:
                await self._progress.hand_on(uow, source, made.job.job_id, kept)
        return made


def _check_pins(before: Envelope, order: Order, kept: Results, *, is_accepted: bool) -> None:
    """Raise if something that runs again is not what it was when the first run was made."""
    again = targets_again(order.plan, kept)
    changed = sorted(
        target
        for target, pin in order.pins.items()
        if target in again and before.pins.get(target, pin) != pin
    )
    if changed and not is_accepted:
        raise AppError(
            Code.TOOL_DEFINITION_CHANGED,
            f"Since that run these have changed: {', '.join(changed[:10])}.",
            hint="Send `accept_changes: true` to run with them as they are now.",
            details={"targets": changed},
        )
