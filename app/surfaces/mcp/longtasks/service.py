"""`tasks/get`, `tasks/update`, `tasks/cancel`, and calls that answer with a task (SEP-2663)."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import anyio
from mcp.server.lowlevel import Server
from mcp_types import RequestParams

from app.kernel.clock import SystemClock
from app.kernel.errors import AppError, Code
from app.kernel.principal import Scope
from app.orchestration import JobView
from app.registry import Tool
from app.surfaces.batches import ToolJob
from app.surfaces.mcp.calls import Call, Context
from app.surfaces.mcp.live import Form, can_be_asked
from app.surfaces.mcp.longtasks.negotiation import (
    IDENTIFIER,
    is_declared,
    is_modern,
    missing,
    require,
)
from app.surfaces.mcp.longtasks.outcomes import outcome
from app.surfaces.mcp.longtasks.slow import is_slow, support_of
from app.surfaces.mcp.longtasks.states import detail_of, status_of, task_of
from app.surfaces.mcp.results import Result, guarded
from app.surfaces.operations import Operations
from app.surfaces.payloads import check_json
from app.surfaces.workflows.payloads import Answer
from app.surfaces.workflows.views import QuestionOut

# A slow tool is quick for small arguments: no client is made to poll for those.
GRACE_S = 1.0
_MOST_QUESTIONS = 100


class OneTask(RequestParams):
    """Parameters of `tasks/get` and `tasks/cancel`."""

    task_id: str


class TaskAnswers(OneTask):
    """Parameters of `tasks/update`."""

    input_responses: dict[str, dict[str, Any]]


class LongTasks:
    """Tasks of the Tasks extension; each is a job of the caller's."""

    def __init__(self, operations: Operations) -> None:
        self._ops = operations
        self._clock = SystemClock()

    def register(self, server: Server[Any]) -> None:
        """Declare the extension and serve its methods."""
        server.extensions[IDENTIFIER] = {}
        server.add_request_handler("tasks/get", OneTask, guarded(self.get))
        server.add_request_handler("tasks/update", TaskAnswers, guarded(self.update))
        server.add_request_handler("tasks/cancel", OneTask, guarded(self.cancel))

    async def answer(self, call: Call, job: JobView) -> Result:
        """A task for a client that knows them, as long as the job lives; else what there is."""
        if is_declared(call.context) and not job.is_terminal:
            return self._created(job)
        return await outcome(self._ops, call, job)

    def takes(self, call: Call, tool: Tool) -> bool:
        """Whether a direct call of the tool becomes a job: its client knows tasks, it is slow.

        Raises `MISSING_REQUIRED_CLIENT_CAPABILITY` for a tool that is served as a task only.
        """
        if not is_slow(tool, self._ops.services.settings):
            return False
        if not is_declared(call.context):
            if support_of(tool) == "required" and is_modern(call.context):
                raise missing()
            return False
        return bool(call.principal.scopes & {Scope.JOBS, Scope.ADMIN})

    async def run(self, call: Call, tool: Tool, arguments: Mapping[str, Any]) -> Result:
        """Queue the call of a slow tool and answer with the task.

        One whose server does not speak of tasks is given a moment to answer at once.
        """
        check_json(arguments)
        asked = ToolJob(tool=tool.full_name, arguments=dict(arguments))
        job = (await self._ops.submit_tool(call.principal, asked)).job
        if support_of(tool) != "unsaid":
            return self._created(job)
        with anyio.move_on_after(GRACE_S):
            async for _ in self._ops.watch(call.principal, job.job_id, 0):
                pass
        return await self.answer(call, await self._ops.job(call.principal, job.job_id))

    async def get(self, context: Context, params: OneTask) -> Result:
        """How a task stands, with its result, error or questions."""
        require(context, params.task_id)
        call = Call.of(context)
        return await self.detailed(call, await self._job(call, params.task_id))

    async def detailed(self, call: Call, job: JobView) -> Result:
        """What `tasks/get` and `notifications/tasks` say of a job."""
        questions = await self._questions(call, job)
        task, result = self._task(job, questions), None
        if status_of(job, questions) == "completed":
            result = await outcome(self._ops, call, job)
        return task | detail_of(job, questions, result) | {"resultType": "complete"}

    async def update(self, context: Context, params: TaskAnswers) -> Result:
        """Answer what a task asks. Keys that ask nothing (any more) are passed over.

        The first answer that does not fit is the error of the request; those before it stand.
        """
        require(context, params.task_id)
        check_json(params.input_responses)
        call = Call.of(context)
        job = await self._job(call, params.task_id)
        open_now = {one.path: one for one in await self._questions(call, job)}
        for key, response in params.input_responses.items():
            if key in open_now:
                await self._respond(call, open_now[key], response)
        return {"resultType": "complete"}

    async def cancel(self, context: Context, params: OneTask) -> Result:
        """Ask for a task's end; of one that has ended there is nothing to do."""
        require(context, params.task_id)
        call = Call.of(context)
        await self._stop(call, (await self._job(call, params.task_id)).job_id)
        return {"resultType": "complete"}

    def _created(self, job: JobView) -> Result:
        return self._task(job) | {"resultType": "task"}

    def _task(self, job: JobView, questions: list[QuestionOut] | None = None) -> Result:
        days = self._ops.services.settings.retention_days
        return task_of(job, self._clock.now(), days, questions or [])

    async def _job(self, call: Call, task_id: str) -> JobView:
        """The caller's job; one error for all others, be they malformed, unknown or not theirs."""
        call.principal.require(Scope.JOBS)
        try:
            return await self._ops.job(call.principal, UUID(task_id))
        except ValueError:
            raise _unknown() from None
        except AppError as error:
            raise (_unknown() if error.code is Code.NOT_FOUND else error) from None

    async def _questions(self, call: Call, job: JobView) -> list[QuestionOut]:
        """What the client can be asked now; one that fills in no forms is asked nothing."""
        if job.kind != "workflow" or job.is_terminal or not can_be_asked(call.context):
            return []
        asked = self._ops.workflows.questions
        return (await asked.open(call.principal, job.job_id, _MOST_QUESTIONS)).questions

    async def _respond(
        self, call: Call, question: QuestionOut, response: Mapping[str, Any]
    ) -> None:
        match response.get("action"):
            case "accept":
                await self._answer(call, question, response.get("content", {}))
            case "decline":
                # Nothing else can come of a run whose owner refuses what it waits for.
                await self._stop(call, question.job_id)
            case "cancel":
                pass
            case _:
                raise AppError(
                    Code.INVALID_INPUT,
                    f"The response to '{question.path}' has no action.",
                    hint="It is an elicitation's result: {action: accept, content: {...}}.",
                    details={"key": question.path},
                )

    async def _answer(self, call: Call, question: QuestionOut, content: object) -> None:
        if not isinstance(content, dict):
            raise AppError(
                Code.INVALID_INPUT,
                f"The content of the response to '{question.path}' is not an object.",
                hint="Fill in the form of the input request.",
                details={"key": question.path},
            )
        given = Answer(step=question.path, answer=Form.of(question.form).read(content))
        try:
            await self._ops.workflows.questions.answer(call.principal, question.job_id, given)
        except AppError as error:
            # Somebody else was first: another window, or the other door.
            if error.code not in {Code.CONFLICT, Code.JOB_FINISHED}:
                raise

    async def _stop(self, call: Call, job_id: UUID) -> None:
        try:
            await self._ops.cancel(call.principal, job_id)
        except AppError as error:
            if error.code is not Code.JOB_FINISHED:
                raise


def _unknown() -> AppError:
    return AppError(
        Code.NOT_FOUND,
        "There is no such task.",
        hint="A task's id is in the answer of the call that made it.",
    )
