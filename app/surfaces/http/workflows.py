"""Routes of workflows: check, run, look at the steps, repeat, save."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response

from app.kernel.errors import AppError
from app.orchestration import Submitted, definition_schema
from app.surfaces.http.dependencies import PREFIX, Caller, Idempotency, Ops
from app.surfaces.http.doubles import Unique, UniqueDefinition, refuse_doubled_names
from app.surfaces.payloads import Text
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

router = APIRouter(prefix=PREFIX, tags=["workflows"])
Name = Annotated[Text, Path(max_length=64)]
_DEFINITION = "/workflows/definitions/{name}"
_MADE: dict[int | str, dict[str, Any]] = {
    200: {"model": JobOut, "description": "The job this key stands for already."}
}


def _made(submitted: Submitted) -> Response:
    return Response(
        JobOut.of(submitted.job).model_dump_json(),
        status_code=201 if submitted.is_new else 200,
        headers={"location": f"/v1/jobs/{submitted.job.job_id}"},
        media_type="application/json",
    )


@router.get("/workflows/schema")
async def show_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of a workflow definition."""
    return definition_schema()


@router.post("/workflows/check")
async def check_workflow(request: Request, ops: Ops, caller: Caller, body: Checked) -> CheckOut:
    """Every mistake of a workflow with its place, or what a run costs at most. Holds nothing."""
    try:
        await refuse_doubled_names(request)
    except AppError as error:
        if "errors" not in error.details:
            raise
        return CheckOut.wrong(error)
    return await ops.workflows.check(caller, body)


@router.post("/workflows/runs", status_code=201, response_model=JobOut, responses=_MADE)
async def run_workflow(
    ops: Ops, caller: Caller, body: Run, _unique: Unique, key: Idempotency = None
) -> Response:
    """Check a workflow, hold the most it can cost and queue a run of it."""
    return _made(await ops.workflows.run(caller, body, body.terms(key)))


@router.get("/jobs/{job_id}/steps")
async def list_steps(
    ops: Ops,
    caller: Caller,
    job_id: UUID,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    after: Annotated[Text | None, Query(description="`next` of the page before.")] = None,
    outputs: Annotated[bool, Query(description="With what the steps gave.")] = True,
) -> StepsOut:
    """The graph of a run and its steps: states, times, outputs."""
    return await ops.workflows.steps(caller, job_id, limit=limit, after=after, has_outputs=outputs)


@router.post("/jobs/{job_id}/replay", status_code=201, response_model=JobOut, responses=_MADE)
async def replay_job(
    ops: Ops, caller: Caller, job_id: UUID, body: Replay, key: Idempotency = None
) -> Response:
    """Run a workflow that has ended again from a step; results before it are taken over."""
    return _made(await ops.workflows.repeats.replay(caller, job_id, body, Terms(key)))


@router.post("/jobs/{job_id}/fork", status_code=201, response_model=JobOut, responses=_MADE)
async def fork_job(
    ops: Ops, caller: Caller, job_id: UUID, body: Fork, _unique: Unique, key: Idempotency = None
) -> Response:
    """Run a workflow that has ended with another input or definition; what still holds is kept."""
    return _made(await ops.workflows.repeats.fork(caller, job_id, body, Terms(key)))


@router.get("/workflows/questions")
async def list_questions(
    ops: Ops,
    caller: Caller,
    job_id: Annotated[UUID | None, Query(description="Only of this run.")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> QuestionsOut:
    """What runs that wait for a person ask the caller, the oldest first."""
    return await ops.workflows.questions.open(caller, job_id, limit)


@router.post("/jobs/{job_id}/answers")
async def answer_question(ops: Ops, caller: Caller, job_id: UUID, body: Answer) -> QuestionOut:
    """Answer a question of a run, once; the run goes on with it."""
    return await ops.workflows.questions.answer(caller, job_id, body)


@router.get("/workflows/definitions")
async def list_definitions(
    ops: Ops,
    caller: Caller,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    after: Annotated[Text | None, Query(description="`next` of the page before.")] = None,
) -> SavedPage:
    """The saved workflows by name, the newest version of each."""
    return await ops.workflows.saved.list(caller, limit, after)


@router.put(
    _DEFINITION,
    status_code=201,
    response_model=WorkflowOut,
    responses={200: {"model": WorkflowOut, "description": "The newest version says this already."}},
)
async def save_definition(
    ops: Ops, caller: Caller, name: Name, body: Save, _unique: UniqueDefinition
) -> Response:
    """Save a definition as the next version under a name; versions never change."""
    saved, is_new = await ops.workflows.saved.save(caller, name, body)
    return Response(
        saved.model_dump_json(),
        status_code=201 if is_new else 200,
        headers={"location": f"/v1/workflows/definitions/{saved.name}?version={saved.version}"},
        media_type="application/json",
    )


@router.get(_DEFINITION)
async def show_definition(
    ops: Ops,
    caller: Caller,
    name: Name,
    version: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
) -> WorkflowOut:
    """A saved workflow, the newest version if none is named."""
    return await ops.workflows.saved.get(caller, name, version)


@router.get(_DEFINITION + "/versions")
async def list_versions(
    ops: Ops,
    caller: Caller,
    name: Name,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    before: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
) -> SavedPage:
    """The versions of a saved workflow, newest first; pass `next` as `before`."""
    return await ops.workflows.saved.versions(caller, name, limit, before)


@router.delete(_DEFINITION, status_code=204)
async def delete_definition(ops: Ops, caller: Caller, name: Name) -> None:
    """Delete all versions of a saved workflow; runs of it go on."""
    await ops.workflows.saved.delete(caller, name)
