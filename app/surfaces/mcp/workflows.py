"""`workflow.*`: check, run, look at the steps, repeat, save."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from app.kernel.errors import AppError, Code
from app.kernel.principal import Scope
from app.surfaces.mcp.apps import JOB_VIEW
from app.surfaces.mcp.calls import Call
from app.surfaces.mcp.live import Following, ask_for, filled
from app.surfaces.mcp.longtasks import LongTasks, is_declared, outcome
from app.surfaces.mcp.owntools import OwnTool
from app.surfaces.mcp.results import Result
from app.surfaces.operations import Operations
from app.surfaces.payloads import IdempotencyKey, Payload, Text
from app.surfaces.terms import Terms
from app.surfaces.views import JobOut
from app.surfaces.workflows import (
    Answer,
    Checked,
    CheckOut,
    Fork,
    QuestionOut,
    QuestionsOut,
    Replay,
    Run,
    Save,
    SavedPage,
    StepsOut,
    WorkflowOut,
)
from app.surfaces.workflows.payloads import Version, WorkflowName

_Key = Annotated[
    IdempotencyKey | None, Field(description="A repeated request with it is not run again.")
]


class RunWorkflow(Run):
    """Arguments of `workflow.run`."""

    idempotency_key: _Key = None
    wait: Annotated[bool, Field(description="Wait for the end and return the result.")] = False
    timeout_s: Annotated[float, Field(gt=0, le=3600, description="Seconds to wait at most.")] = 3600


class ReplayRun(Replay):
    """Arguments of `workflow.replay`."""

    job_id: UUID
    idempotency_key: _Key = None


class ForkRun(Fork):
    """Arguments of `workflow.fork`."""

    job_id: UUID
    idempotency_key: _Key = None


class Steps(Payload):
    """Arguments of `workflow.steps`."""

    job_id: UUID
    limit: Annotated[int, Field(ge=1, le=1000)] = 200
    after: Annotated[Text | None, Field(description="`next` of the page before.")] = None
    outputs: Annotated[bool, Field(description="With what the steps gave.")] = True


class Asked(Payload):
    """Arguments of `workflow.questions`."""

    job_id: Annotated[UUID | None, Field(description="Only of this run.")] = None
    limit: Annotated[int, Field(ge=1, le=500)] = 100


class AnswerTo(Answer):
    """Arguments of `workflow.answer`."""

    job_id: UUID


class Listed(Payload):
    """Arguments of `workflow.list`."""

    limit: Annotated[int, Field(ge=1, le=100)] = 50
    after: Annotated[Text | None, Field(description="`next` of the page before.")] = None


class Saved(Payload):
    """Arguments of `workflow.get`."""

    name: WorkflowName
    version: Version | None = None


class SaveAs(Save):
    """Arguments of `workflow.save`."""

    name: WorkflowName


class WorkflowTools:
    """The handlers, over the operations both doors share."""

    def __init__(self, operations: Operations, long: LongTasks) -> None:
        self._ops = operations
        self._long = long
        self._workflows = operations.workflows
        self._following = Following(operations)

    def tools(self) -> list[OwnTool[Any]]:
        """The tools of this family."""
        jobs = Scope.JOBS
        return [
            OwnTool("workflow.check", _CHECK, Checked, CheckOut, jobs, self.check),
            OwnTool("workflow.run", _RUN, RunWorkflow, JobOut, jobs, self.run, False, JOB_VIEW),
            OwnTool("workflow.steps", _STEPS, Steps, StepsOut, jobs, self.steps),
            OwnTool("workflow.replay", _REPLAY, ReplayRun, JobOut, jobs, self.replay, False),
            OwnTool("workflow.fork", _FORK, ForkRun, JobOut, jobs, self.fork, False),
            OwnTool("workflow.questions", _ASKED, Asked, QuestionsOut, jobs, self.questions),
            OwnTool("workflow.answer", _ANSWER, AnswerTo, QuestionOut, jobs, self.answer, False),
            OwnTool("workflow.list", _LIST, Listed, SavedPage, jobs, self.list),
            OwnTool("workflow.get", _GET, Saved, WorkflowOut, jobs, self.get),
            OwnTool("workflow.save", _SAVE, SaveAs, WorkflowOut, jobs, self.save, False),
        ]

    async def check(self, call: Call, given: Checked) -> CheckOut:
        """Mistakes and price."""
        return await self._workflows.check(call.principal, given)

    async def run(self, call: Call, given: RunWorkflow) -> Result:
        """Queue a run; then, if asked, wait for its end and report progress.

        A caller who can be asked for what the input lacks is asked first.
        """
        if (job_id := self._following.resumed(call)) is None:
            given = given.model_copy(update={"input": filled(call, given.input)})
            try:
                terms = given.terms(given.idempotency_key)
                job = (await self._workflows.run(call.principal, given, terms)).job
            except AppError as error:
                if (question := await self._lacking(call, given, error)) is None:
                    raise
                return question
            if not given.wait or is_declared(call.context):
                return await self._long.answer(call, job)
            job_id = job.job_id
        asked = await self._following.to_end(call, job_id, given.timeout_s)
        return asked or await outcome(self._ops, call, await self._ops.job(call.principal, job_id))

    async def _lacking(self, call: Call, given: RunWorkflow, error: AppError) -> Result | None:
        if error.code is not Code.INVALID_INPUT:
            return None
        schema = await self._workflows.input_schema(call.principal, given)
        return ask_for(call, schema, given.input)

    async def steps(self, call: Call, given: Steps) -> StepsOut:
        """A page of a run's steps."""
        return await self._workflows.steps(
            call.principal,
            given.job_id,
            limit=given.limit,
            after=given.after,
            has_outputs=given.outputs,
        )

    async def replay(self, call: Call, given: ReplayRun) -> Result:
        """A new run from a step on."""
        terms, repeats = Terms(given.idempotency_key), self._workflows.repeats
        made = await repeats.replay(call.principal, given.job_id, given, terms)
        return await self._long.answer(call, made.job)

    async def fork(self, call: Call, given: ForkRun) -> Result:
        """A new run with something changed."""
        terms, repeats = Terms(given.idempotency_key), self._workflows.repeats
        made = await repeats.fork(call.principal, given.job_id, given, terms)
        return await self._long.answer(call, made.job)

    async def questions(self, call: Call, given: Asked) -> QuestionsOut:
        """Open questions."""
        return await self._workflows.questions.open(call.principal, given.job_id, given.limit)

    async def answer(self, call: Call, given: AnswerTo) -> QuestionOut:
        """Answer one."""
        return await self._workflows.questions.answer(call.principal, given.job_id, given)

    async def list(self, call: Call, given: Listed) -> SavedPage:
        """Saved workflows."""
        return await self._workflows.saved.list(call.principal, given.limit, given.after)

    async def get(self, call: Call, given: Saved) -> WorkflowOut:
        """A saved workflow."""
        return await self._workflows.saved.get(call.principal, given.name, given.version)

    async def save(self, call: Call, given: SaveAs) -> WorkflowOut:
        """Save the next version."""
        return (await self._workflows.saved.save(call.principal, given.name, given))[0]


_CHECK = (
    "Check a workflow without running it: every mistake with its JSON pointer, or the most a run"
    " can cost, its graph and the schema of its input. The JSON Schema of a definition is the"
    " resource uaol://workflows/schema."
)
_RUN = (
    "Run a workflow: a definition, or a saved one by name. The most it can cost is held now; what"
    " its steps cost is charged at the end, and nothing if it fails (billing=outcome). Returns at"
    " once with the job's id, or with wait=true once it has ended. Follow it with"
    " bio_agent.stream_trace, see its steps with workflow.steps."
)
_STEPS = "The graph of a workflow's run and its steps: state, times, output or error of each."
_REPLAY = (
    "Run a workflow that has ended again from a step on. Results of steps before it are taken over;"
    " those that a run was charged for cost nothing again."
)
_FORK = (
    "Run a workflow that has ended with another input or another definition. Results that do not"
    " depend on what is changed are taken over; those that a run was charged for cost nothing"
    " again."
)
_ASKED = (
    "What runs that wait for a person ask the caller: job, step, title and the JSON Schema of the"
    " answer."
)
_ANSWER = "Answer a question of a run, once; the answer must fit the question's form."
_LIST = "The saved workflows, the newest version of each."
_GET = "A saved workflow with its definition; the newest version if none is named."
_SAVE = "Save a workflow definition as the next version under a name. Versions never change."
