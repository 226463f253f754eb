"""What can be done through a door, written once; HTTP and MCP only translate to and from it."""

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from app.billing import Quote, Wallet
from app.kernel.clock import SystemClock
from app.kernel.principal import Principal, Scope
from app.kernel.uow import UnitOfWork
from app.orchestration import JobEvent, JobView, Submitted
from app.registry import Tool
from app.storage import StoredFile
from app.surfaces.batches import Batch, ToolJob
from app.surfaces.charging import BY_OUTCOME, Charging, quote
from app.surfaces.connections import Connecting
from app.surfaces.context import Access, owned
from app.surfaces.deadletters import PutAside
from app.surfaces.files import Files
from app.surfaces.finding import Finding
from app.surfaces.limits import Limiting
from app.surfaces.queues import Operating
from app.surfaces.registry import Registering
from app.surfaces.scheduling import Scheduling
from app.surfaces.secrets import Secrets
from app.surfaces.services import Services
from app.surfaces.streams import Streams
from app.surfaces.submission import Submission
from app.surfaces.terms import USUAL, Terms
from app.surfaces.toolcalls import ToolCalls
from app.surfaces.tooljobs import ToolJobs
from app.surfaces.views import BatchResult, Event, JobOut, JobPage, Trace
from app.surfaces.webhooks import Telling
from app.surfaces.workflows import Workflows

MAX_SEQ = 2**31 - 1
PAGE = 500


class Operations:
    """One instance a process, shared by every door."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.access = Access(services.database, services.auth)
        self.streams = Streams(self.access, services.settings, SystemClock())
        self.files = Files(services, self.access)
        self.calls = ToolCalls(services)
        self.limits = Limiting(services, self.access)
        self.schedules = Scheduling(services, self.access)
        self.dead_letters = PutAside(services, self.access)
        self.queues = Operating(services, self.access)
        self.webhooks = Telling(services, self.access)
        self.secrets = Secrets(services, self.access)
        self.connecting = Connecting(services, self.access)
        self.registry = Registering(services, self.access)
        self.finding = Finding(services)
        self._submission = Submission(services, self.access, self.files)
        self._tool_jobs = ToolJobs(services, self.access)
        self.workflows = Workflows(services, self.access)

    async def wallet(self, principal: Principal) -> Wallet:
        """The principal's credits, after what they called through this process so far."""
        principal.require(Scope.BILLING)
        await self.calls.charges.flush(principal)
        async with self.access.read(principal) as uow:
            return await self.services.billing.wallet(uow, principal.owner)

    async def quote(
        self,
        principal: Principal,
        kind: Literal["template", "tool"],
        name: str,
        charging: Charging = BY_OUTCOME,
    ) -> Quote:
        """The price of a template or tool, by its full name."""
        if kind == "template":
            name = self.services.templates.get(name).name
        else:
            name = self.services.registry.snapshot().resolve(name).full_name
        async with self.access.write(principal) as uow:
            return await quote(self.services.billing, uow, kind, name, charging)

    def tools(self, principal: Principal) -> list[Tool]:
        """The tools this principal may call; none without the scope."""
        if not principal.scopes & {Scope.TOOLS, Scope.ADMIN}:
            return []
        return list(self.services.registry.snapshot().tools(principal))

    async def submit_task(
        self,
        principal: Principal,
        template: str,
        raw: Mapping[str, Any],
        terms: Terms = USUAL,
    ) -> Submitted:
        """Check the input, store its inline files, hold the price and queue the job, or nothing."""
        return await self._submission.submit(principal, template, raw, terms)

    async def submit_tool(self, principal: Principal, job: ToolJob) -> Submitted:
        """Check one tool job, hold its price and queue it, or nothing."""
        return await self._tool_jobs.submit(principal, job)

    async def submit_batch(self, principal: Principal, batch: Batch) -> list[dict[str, Any]]:
        """Queue a batch of tool jobs; one result a job, in order (see `BatchResult`)."""
        results = await self._tool_jobs.submit_many(principal, batch.read())
        return [BatchResult.row(result) for result in results]

    async def job(self, principal: Principal, job_id: UUID) -> JobView:
        """One of the principal's jobs, or `not_found`."""
        principal.require(Scope.JOBS)
        async with self.access.read(principal) as uow:
            return await self._own(uow, principal, job_id)

    async def _own(self, uow: UnitOfWork, principal: Principal, job_id: UUID) -> JobView:
        job = await self.services.jobs.get(uow, job_id)
        return owned(principal, job, job.user_id, "job")

    async def jobs(
        self,
        principal: Principal,
        limit: int,
        before: UUID | None,
        *,
        status: str | None = None,
        kind: str | None = None,
        since: datetime | None = None,
    ) -> JobPage:
        """A page of the principal's jobs that fit, newest first; `limit` is below 200."""
        principal.require(Scope.JOBS)
        async with self.access.read(principal) as uow:
            found = await self.services.jobs.list(
                uow, principal.owner, limit + 1, before, status=status, kind=kind, since=since
            )
        shown = [JobOut.of(job) for job in found[:limit]]
        return JobPage(jobs=shown, next=shown[-1].job_id if len(found) > limit else None)

    async def cancel(self, principal: Principal, job_id: UUID) -> JobView:
        """Ask for a job's end; `job_finished` if it has ended."""
        principal.require(Scope.JOBS)
        async with self.access.write(principal) as uow:
            await self._own(uow, principal, job_id)
            return await self.services.jobs.cancel(uow, job_id)

    async def job_files(self, principal: Principal, job_id: UUID) -> list[StoredFile]:
        """The files a job made."""
        principal.require(Scope.FILES)
        async with self.access.read(principal) as uow:
            await self._own(uow, principal, job_id)
            return list(await self.services.storage.list(uow, job_id))

    async def trace(
        self, principal: Principal, job_id: UUID, after_seq: int, limit: int = PAGE
    ) -> Trace:
        """The piece of a job's trace after `after_seq`, as it stands."""
        principal.require(Scope.JOBS)
        async with self.access.read(principal) as uow:
            # The job is read first: an end seen here has its event among those read next.
            job = await self._own(uow, principal, job_id)
            events = await self.services.jobs.events(uow, job_id, after_seq, limit)
        return trace_of(job, [Event.of(event) for event in events], after_seq, limit)

    async def watch(
        self, principal: Principal, job_id: UUID, after_seq: int
    ) -> AsyncIterator[JobEvent]:
        """The trace after `after_seq`, then each event as it comes, up to the job's end.

        Leaving the iterator stops the watching, never the job.
        """
        await self.job(principal, job_id)
        async for event in self.services.jobs.follow(principal, job_id, after_seq):
            yield event


def trace_of(job: JobView, events: list[Event], after_seq: int, limit: int) -> Trace:
    """A piece of a trace; it is the last one if the job has ended and the page was not full."""
    return Trace(
        job_id=job.job_id,
        status=job.status,
        events=events,
        next_seq=events[-1].seq if events else after_seq,
        is_terminal=job.is_terminal and len(events) < limit,
    )
