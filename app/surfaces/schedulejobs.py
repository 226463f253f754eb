"""Makes the jobs of schedules, in the name of their owners: checked and priced as of now."""

from collections.abc import Mapping
from typing import Any

from app.kernel.principal import USER_SCOPES, Principal
from app.orchestration import JobRequest, Schedule, ScheduleSpec
from app.surfaces.asked import Asked
from app.surfaces.batches import ToolJob
from app.surfaces.context import Access
from app.surfaces.files import Files
from app.surfaces.services import Services
from app.surfaces.submission import Submission
from app.surfaces.terms import Terms
from app.surfaces.told import require_webhook
from app.surfaces.tooljobs import ToolJobs
from app.surfaces.workflows import Run, Workflows


class ScheduleJobs:
    """What the scheduler asks for a job; where a key was once enough, its owner still is."""

    def __init__(self, services: Services, access: Access) -> None:
        self._services = services
        self._access = access
        self._tool_jobs = ToolJobs(services, access)
        self._submission = Submission(services, access, Files(services, access))
        self._workflows = Workflows(services, access)

    async def request(self, schedule: Schedule) -> JobRequest:
        """The schedule's job, ready to be queued; raises why it cannot be made."""
        owner = Principal("user", schedule.user_id, schedule.project_id, frozenset(USER_SCOPES))
        # An endpoint that was disabled since is told later, and stops no job.
        request = await self._prepare(owner, schedule.spec)
        return request._replace(webhook_id=schedule.spec.webhook_id)

    async def _prepare(self, principal: Principal, spec: ScheduleSpec) -> JobRequest:
        job, terms = spec.job, (None, spec.priority, None, spec.limit_key)
        if "tool" in job:
            tool_job = ToolJob(job["tool"], dict(job.get("arguments", {})), *terms)
            return await self._tool_jobs.prepare(principal, tool_job)
        if "workflow" in job:
            return await self._workflows.prepare(principal, Run(**job), Terms(*terms))
        return await self._submission.prepare(
            principal, job["template"], job["input"], Terms(*terms)
        )

    async def keep(self, principal: Principal, asked: Asked, terms: Terms) -> Mapping[str, Any]:
        """The job as a schedule keeps it; refused now if it could not be queued now.

        Inline files are stored, so that each run finds them by their ids.
        """
        await require_webhook(self._services, self._access, principal, terms.webhook)
        if asked.tool is not None:
            job = ToolJob(
                asked.tool,
                asked.arguments or {},
                priority=terms.priority,
                limit_key=terms.limit_key,
            )
            request = await self._tool_jobs.prepare(principal, job)
            return dict(request.definition)
        if asked.workflow is not None:
            return await self._kept_run(principal, asked, terms)
        assert asked.template is not None
        value = await self._submission.keep(principal, asked.template, asked.input or {})
        return {"template": asked.template, "input": value}

    async def _kept_run(
        self, principal: Principal, asked: Asked, terms: Terms
    ) -> Mapping[str, Any]:
        """A saved workflow is kept by its name; without a version each moment runs the newest."""
        assert asked.workflow is not None
        run = Run(workflow=asked.workflow, version=asked.version, input=asked.input)
        await self._workflows.prepare(principal, run, terms)
        kept: dict[str, Any] = {"workflow": asked.workflow, "input": asked.input}
        return kept if asked.version is None else {**kept, "version": asked.version}
