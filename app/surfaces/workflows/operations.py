"""What can be done with workflows through a door, written once for HTTP and MCP."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from app.kernel.errors import AppError
from app.kernel.principal import Principal, Scope
from app.orchestration import Agreement, JobRequest, Library, Progress, Submitted
from app.surfaces.context import Access, owned
from app.surfaces.services import Services
from app.surfaces.terms import USUAL, Terms, check_run_at
from app.surfaces.told import require_webhook
from app.surfaces.workflows.ordering import Ordering, request_of
from app.surfaces.workflows.payloads import Checked, Named, Run
from app.surfaces.workflows.questions import Questions
from app.surfaces.workflows.repeating import Repeating
from app.surfaces.workflows.shelf import Shelf
from app.surfaces.workflows.views import CheckOut, StepsOut

STEPS = 200
"""Steps of a page."""


class Workflows:
    """Workflows of users. `saved` are their definitions, `repeats` their runs made of others,
    `questions` what runs ask them.
    """

    def __init__(self, services: Services, access: Access) -> None:
        self._services = services
        self._access = access
        self._progress = Progress()
        library = Library()
        self._ordering = Ordering(services, access, library)
        self.questions = Questions(services, access)
        self.saved = Shelf(access, self._ordering, library)
        self.repeats = Repeating(services, access, self._ordering, self._progress)

    async def check(self, principal: Principal, asked: Checked) -> CheckOut:
        """What is wrong with a workflow, or what it can cost; nothing is held."""
        raw, _ = await self._ordering.named(principal, asked)
        try:
            order = await self._ordering.order(principal, raw)
        except AppError as error:
            if "errors" not in error.details:
                raise
            return CheckOut.wrong(error)
        wrong: list[Any] = []
        if asked.has_input:
            try:
                await self._ordering.check_input(principal, order, asked.input)
            except AppError as error:
                wrong = error.details.get("errors") or [_whole(error)]
        graph = self._progress.graph(order.plan, order.prices)
        most = order.bound_micro(asked.input) if asked.has_input else order.most_micro()
        return CheckOut.of(order, most, graph, wrong)

    async def run(self, principal: Principal, asked: Run, terms: Terms = USUAL) -> Submitted:
        """Check everything, hold the most it can cost and queue the run, or nothing."""
        return await self._services.intake.submit(await self.prepare(principal, asked, terms))

    async def input_schema(self, principal: Principal, asked: Named) -> Mapping[str, Any] | None:
        """The schema of a workflow's input, once the definition has no mistakes."""
        raw, _ = await self._ordering.named(principal, asked)
        return (await self._ordering.order(principal, raw)).plan.definition.input_schema

    async def prepare(self, principal: Principal, asked: Run, terms: Terms = USUAL) -> JobRequest:
        """A run checked and priced, to be queued by the caller."""
        check_run_at(terms.run_at, datetime.now(UTC))
        await require_webhook(self._services, self._access, principal, terms.webhook)
        raw, agreed = await self._ordering.named(principal, asked)
        order = await self._ordering.order(principal, raw)
        await self._ordering.check_input(principal, order, asked.input)
        agreed = Agreement(billing=asked.billing, name=agreed.name, version=agreed.version)
        envelope = order.envelope(asked.input, agreed)
        return request_of(self._services, principal, order, envelope, terms=terms)

    async def steps(
        self,
        principal: Principal,
        job_id: UUID,
        *,
        limit: int = STEPS,
        after: str | None = None,
        has_outputs: bool = True,
    ) -> StepsOut:
        """A page of a run's steps with its graph; `conflict` for a job without steps."""
        principal.require(Scope.JOBS)
        async with self._access.read(principal) as uow:
            job = await self._services.jobs.get(uow, job_id)
            owned(principal, job, job.user_id, "job")
            page = await self._progress.steps(
                uow, job, limit=limit, after=after, has_outputs=has_outputs
            )
        return StepsOut.of(job, page)


def _whole(error: AppError) -> dict[str, Any]:
    """A mistake of the input as a whole."""
    return {"pointer": "", "code": error.code.value, "message": error.message}
