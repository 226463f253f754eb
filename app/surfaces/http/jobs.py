"""Routes of jobs: submit, look, cancel, trace, files."""

from typing import Annotated, Any, Self
from uuid import UUID

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import AwareDatetime, ConfigDict, Field, model_validator

from app.kernel.errors import AppError, Code
from app.surfaces.batches import Batch, Name, Priority, ToolJob
from app.surfaces.http.dependencies import PREFIX, Caller, Idempotency, Ops, base_url
from app.surfaces.operations import MAX_SEQ, PAGE
from app.surfaces.payloads import Payload, Text
from app.surfaces.views import BatchOut, JobOut, JobPage, JobStatus, LinkedFile, Trace, View

router = APIRouter(prefix=PREFIX, tags=["jobs"])
AfterSeq = Annotated[int, Query(ge=0, le=MAX_SEQ, description="The last event already seen.")]


class JobIn(Payload):
    """What to run: a template with its input, or one tool with its arguments.

    A file in a template's input is a `file_id` or `{text, name}`.
    """

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["template", "input"]}, {"required": ["tool"]}]}
    )
    template: Name | None = None
    input: dict[str, Any] | None = None
    tool: Annotated[Name | None, Field(description="A tool's full name.")] = None
    arguments: dict[str, Any] | None = None
    priority: Priority = 0

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.template is None) == (self.tool is None):
            raise _misfit("", "A job is a template with its input, or a tool with its arguments")
        if self.template is not None and self.input is None:
            raise _misfit("/input", "A template needs its input")
        if self.template is None and self.input is not None:
            raise _misfit("/input", "A tool takes `arguments`, not `input`")
        if self.tool is None and self.arguments is not None:
            raise _misfit("/arguments", "A template takes `input`, not `arguments`")
        return self


def _misfit(where: str, why: str) -> AppError:
    hint = "Give {template, input} or {tool, arguments}."
    return AppError(Code.INVALID_INPUT, f"{why}.", hint=hint, details={"pointer": where})


class FilesOut(View):
    """A job's files with their download links."""

    files: list[LinkedFile]


@router.post(
    "/jobs",
    status_code=201,
    response_model=JobOut,
    responses={200: {"model": JobOut, "description": "The job this key stands for already."}},
)
async def submit(ops: Ops, caller: Caller, body: JobIn, key: Idempotency = None) -> Response:
    """Hold the price and queue a job; 200 instead of 201 if the idempotency key was used."""
    if body.tool is not None:
        job = ToolJob(body.tool, body.arguments or {}, key, body.priority)
        submitted = await ops.submit_tool(caller, job)
    else:
        assert body.template is not None
        given = body.input or {}
        submitted = await ops.submit_task(caller, body.template, given, key, body.priority)
    return Response(
        JobOut.of(submitted.job).model_dump_json(),
        status_code=201 if submitted.is_new else 200,
        headers={"location": f"/v1/jobs/{submitted.job.job_id}"},
        media_type="application/json",
    )


@router.post("/jobs:batch", response_model=BatchOut)
async def submit_batch(request: Request, ops: Ops, caller: Caller, body: Batch) -> Response:
    """Queue up to 1,000 tool jobs. Each stands for itself: a refused one refuses no other.

    A job with an `idempotency_key` of its own is safe to send again, whatever became of the rest.
    """
    if "idempotency-key" in request.headers:
        raise AppError(
            Code.INVALID_INPUT,
            "A batch has no idempotency key; its jobs have.",
            hint="Give each job an `idempotency_key`, and leave the header out.",
        )
    results = await ops.submit_batch(caller, body)
    return Response(orjson.dumps({"results": results}), media_type="application/json")


@router.get("/jobs")
async def list_jobs(
    ops: Ops,
    caller: Caller,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    before: Annotated[UUID | None, Query(description="`next` of the page before.")] = None,
    status: Annotated[JobStatus | None, Query(description="Only jobs in this state.")] = None,
    kind: Annotated[
        Text | None, Query(max_length=200, description="`task`, `tool` or another kind of job.")
    ] = None,
    since: Annotated[
        AwareDatetime | None, Query(description="Only jobs queued then or later (RFC 3339).")
    ] = None,
) -> JobPage:
    """The caller's jobs, newest first."""
    return await ops.jobs(caller, limit, before, status=status, kind=kind, since=since)


@router.get("/jobs/{job_id}")
async def show_job(ops: Ops, caller: Caller, job_id: UUID) -> JobOut:
    """One job."""
    return JobOut.of(await ops.job(caller, job_id))


@router.post("/jobs/{job_id}/cancel")
async def cancel_job(ops: Ops, caller: Caller, job_id: UUID) -> JobOut:
    """Cancel a job: at once if it waits, at its next step if it runs. Its credits come back."""
    return JobOut.of(await ops.cancel(caller, job_id))


@router.get("/jobs/{job_id}/events")
async def list_events(
    ops: Ops,
    caller: Caller,
    job_id: UUID,
    after_seq: AfterSeq = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = PAGE,
) -> Trace:
    """A page of a job's trace."""
    return await ops.trace(caller, job_id, after_seq, limit)


@router.get("/jobs/{job_id}/files")
async def list_files(request: Request, ops: Ops, caller: Caller, job_id: UUID) -> FilesOut:
    """The files a job made."""
    files = await ops.job_files(caller, job_id)
    return FilesOut(files=ops.files.linked(files, base_url(request)))
