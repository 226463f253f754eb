"""From tool jobs as asked for to queued ones: all that needs no database first, then the intake."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from app.billing import Quote
from app.kernel.clock import SystemClock
from app.kernel.errors import AppError
from app.kernel.principal import Principal, Scope
from app.orchestration import JobRequest, Submitted
from app.registry import Snapshot, Tool
from app.surfaces.batches import ToolJob
from app.surfaces.context import Access
from app.surfaces.services import Services
from app.surfaces.terms import check_run_at
from app.surfaces.told import refused_webhooks
from app.surfaces.toolprices import ToolPrices

Offers = Mapping[str, tuple[Tool, Quote] | AppError]


class ToolJobs:
    """Submits jobs that are one tool call. A refused one leaves no job and no hold."""

    def __init__(self, services: Services, access: Access) -> None:
        self._services = services
        self._access = access
        self._prices = ToolPrices(services, access)
        self._clock = SystemClock()

    async def submit(self, principal: Principal, job: ToolJob) -> Submitted:
        """Queue one job, or raise why not."""
        (result,) = await self.submit_many(principal, [job])
        if isinstance(result, AppError):
            raise result
        return result

    async def submit_many(
        self, principal: Principal, jobs: Sequence[ToolJob | AppError]
    ) -> list[Submitted | AppError]:
        """Queue jobs in transactions shared with other callers'; one result a job, in order.

        Raises `forbidden` for all of them, and `hub_unavailable` if it is not known what became
        of them: then only jobs with an idempotency key can be sent again safely.
        """
        asked = await self.prepare_many(principal, jobs)
        requests = [one for one in asked if isinstance(one, JobRequest)]
        made = iter(await self._services.intake.submit_many(requests))
        return [next(made) if isinstance(one, JobRequest) else one for one in asked]

    async def prepare(self, principal: Principal, job: ToolJob) -> JobRequest:
        """One job checked and priced, to be queued by the caller; or raise why not."""
        (request,) = await self.prepare_many(principal, [job])
        if isinstance(request, AppError):
            raise request
        return request

    async def prepare_many(
        self, principal: Principal, jobs: Sequence[ToolJob | AppError]
    ) -> list[JobRequest | AppError]:
        """Jobs checked and priced, each for itself."""
        # The worker calls the tool in the user's name, so the key must be one that may.
        principal.require(Scope.JOBS)
        principal.require(Scope.TOOLS)
        names = {job.tool for job in jobs if isinstance(job, ToolJob)}
        offers, now = await self._offers(principal, names), self._clock.now()
        asked = [self._request(principal, job, offers, now) for job in jobs]
        return await self._told(principal, asked)

    async def _told(
        self, principal: Principal, asked: list[JobRequest | AppError]
    ) -> list[JobRequest | AppError]:
        """The same, but for jobs that name a webhook they may not."""
        hooks = {one.webhook_id for one in asked if isinstance(one, JobRequest)} - {None}
        if not hooks:
            return asked
        named = [hook for hook in hooks if hook is not None]
        refused = await refused_webhooks(self._services, self._access, principal, named)
        return [
            refused.get(one.webhook_id, one)
            if isinstance(one, JobRequest) and one.webhook_id is not None
            else one
            for one in asked
        ]

    async def _offers(self, principal: Principal, names: Collection[str]) -> Offers:
        snapshot = self._services.registry.snapshot()
        found = {name: _resolved(snapshot, name) for name in names}
        tools = {tool.full_name for tool in found.values() if isinstance(tool, Tool)}
        quotes = await self._prices.of(principal, tools)
        return {
            name: tool if isinstance(tool, AppError) else _offer(tool, quotes[tool.full_name])
            for name, tool in found.items()
        }

    def _request(
        self, principal: Principal, job: ToolJob | AppError, offers: Offers, now: datetime
    ) -> JobRequest | AppError:
        if isinstance(job, AppError):
            return job
        offer = offers[job.tool]
        if isinstance(offer, AppError):
            return offer
        tool, price = offer
        try:
            self._services.proxy.check(tool, job.arguments)
            check_run_at(job.run_at, now)
            names = self._services.limit_names(principal.owner, tool.full_name, job.limit_key)
        except AppError as error:
            return error
        return JobRequest(
            user_id=principal.owner,
            project_id=principal.project_id,
            kind="tool",
            definition={"tool": tool.full_name, "arguments": job.arguments},
            price=price,
            idempotency_key=job.idempotency_key,
            priority=job.priority,
            run_at=job.run_at,
            limit_names=names,
            webhook_id=job.webhook,
        )


def _resolved(snapshot: Snapshot, name: str) -> Tool | AppError:
    try:
        return snapshot.resolve(name)
    except AppError as error:
        return error


def _offer(tool: Tool, quote: Quote | AppError) -> tuple[Tool, Quote] | AppError:
    return quote if isinstance(quote, AppError) else (tool, quote)
