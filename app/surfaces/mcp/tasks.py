"""`bio_agent.*`: run a task, watch it, stop it. Watching never owns the run."""

from typing import Annotated, Any
from uuid import UUID

import anyio
from pydantic import Field

from app.kernel.principal import Scope
from app.surfaces.charging import BillingMode, Charging, MaxCredits
from app.surfaces.mcp.apps import JOB_VIEW
from app.surfaces.mcp.calls import Call
from app.surfaces.mcp.live import Following
from app.surfaces.mcp.longtasks import LongTasks, is_declared, outcome
from app.surfaces.mcp.owntools import OwnTool
from app.surfaces.mcp.results import Result
from app.surfaces.operations import MAX_SEQ, Operations
from app.surfaces.payloads import IdempotencyKey, Payload, Text
from app.surfaces.terms import LimitKey, Priority, RunAt, Terms, Webhook
from app.surfaces.views import Event, JobOut, JobWithFiles, TemplateOut, Trace, View

_Timeout = Annotated[
    float, Field(gt=0, le=3600, description="Seconds to wait at most; the run goes on after them.")
]


class RunTask(Payload):
    """Arguments of `bio_agent.run_task`."""

    template: Annotated[Text, Field(description="A name from bio_agent.list_templates.")]
    input: Annotated[
        dict[str, Any],
        Field(
            description="The template's input. A file is the id of an uploaded file, or"
            ' {"text": "...", "name": "record.gb"}.'
        ),
    ]
    wait: Annotated[bool, Field(description="Wait for the end and return the result.")] = False
    idempotency_key: Annotated[
        IdempotencyKey | None, Field(description="A repeated request with it is not run again.")
    ] = None
    priority: Priority = 0
    run_at: RunAt = None
    limit_key: LimitKey = None
    webhook: Webhook = None
    billing: BillingMode = "outcome"
    max_credits: MaxCredits = None
    timeout_s: _Timeout = 3600.0

    def terms(self) -> Terms:
        """How the run is queued."""
        queued = (self.idempotency_key, self.priority, self.run_at, self.limit_key, self.webhook)
        return Terms(*queued, Charging.of(self.billing, self.max_credits))


class StreamTrace(Payload):
    """Arguments of `bio_agent.stream_trace`."""

    job_id: UUID
    after_seq: Annotated[int, Field(ge=0, le=MAX_SEQ, description="Last event seen.")] = 0
    wait: Annotated[bool, Field(description="Wait for more until the run has ended.")] = True
    max_events: Annotated[int, Field(ge=1, le=1000)] = 500
    timeout_s: _Timeout = 3600.0


class OneJob(Payload):
    """A job's id."""

    job_id: UUID


class Nothing(Payload):
    """No arguments."""


class Templates(View):
    """The tasks that can be run."""

    templates: list[TemplateOut]


class TaskTools:
    """The handlers, over the operations both doors share."""

    def __init__(self, operations: Operations, long: LongTasks) -> None:
        self._ops = operations
        self._following = Following(operations)
        self._long = long

    def tools(self) -> list[OwnTool[Any]]:
        """The tools of this family."""
        return [
            OwnTool("bio_agent.list_templates", _LIST, Nothing, Templates, None, self.show),
            OwnTool(
                "bio_agent.run_task",
                _RUN,
                RunTask,
                JobWithFiles,
                Scope.JOBS,
                self.run,
                False,
                JOB_VIEW,
            ),
            OwnTool("bio_agent.stream_trace", _TRACE, StreamTrace, Trace, Scope.JOBS, self.trace),
            OwnTool(
                "bio_agent.cancel_task", _CANCEL, OneJob, JobOut, Scope.JOBS, self.cancel, False
            ),
        ]

    async def show(self, _call: Call, _arguments: Nothing) -> Templates:
        """All templates with their input schemas."""
        found = self._ops.services.templates.all()
        return Templates(templates=[TemplateOut.of(template) for template in found])

    async def run(self, call: Call, given: RunTask) -> Result:
        """Submit, durable before anything else; then, if asked, wait and report progress."""
        submitted = await self._ops.submit_task(
            call.principal, given.template, given.input, given.terms()
        )
        job = submitted.job
        if not given.wait or is_declared(call.context):
            return await self._long.answer(call, job)
        asked = await self._following.to_end(call, job.job_id, given.timeout_s)
        job = await self._ops.job(call.principal, job.job_id)
        return asked or await outcome(self._ops, call, job)

    async def trace(self, call: Call, given: StreamTrace) -> Trace:
        """The trace; with `wait`, each event also goes out at once as a progress notification."""
        if not given.wait:
            return await self._ops.trace(
                call.principal, given.job_id, given.after_seq, given.max_events
            )
        events, is_over = await self._watched(call, given)
        job = await self._ops.job(call.principal, given.job_id)
        return Trace(
            job_id=job.job_id,
            status=job.status,
            events=events,
            next_seq=events[-1].seq if events else given.after_seq,
            is_terminal=is_over,
        )

    async def _watched(self, call: Call, given: StreamTrace) -> tuple[list[Event], bool]:
        events: list[Event] = []
        watching = self._ops.watch(call.principal, given.job_id, given.after_seq)
        with anyio.move_on_after(given.timeout_s):
            async for event in watching:
                events.append(Event.of(event))
                await call.progress(event, events[-1].model_dump_json())
                if len(events) == given.max_events:
                    return events, False
            return events, True
        return events, False

    async def cancel(self, call: Call, given: OneJob) -> JobOut:
        """Cancel a run."""
        return JobOut.of(await self._ops.cancel(call.principal, given.job_id))


_LIST = "The tasks that can be run: what each does, its price and the schema of its input."
_RUN = (
    "Run a task. Its price is held now, charged only if the result passes its checks, and given"
    " back otherwise. Returns at once with the job's id, or with wait=true once it has ended."
    " The run survives a client that goes away; follow it with bio_agent.stream_trace."
)
_TRACE = (
    "The trace of a run after `after_seq`: agents, tools, checks. With wait=true it follows the"
    " run to its end and sends each event as a progress notification whose message is its JSON."
)
_CANCEL = "Stop a run; its credits are given back, but for what a run in usage mode has used."
