"""Routes of jobs: submit, look, cancel, trace, files."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from app.surfaces.http.dependencies import PREFIX, Caller, Idempotency, Ops, base_url
from app.surfaces.operations import MAX_SEQ, PAGE
from app.surfaces.payloads import Payload
from app.surfaces.views import JobOut, JobPage, LinkedFile, Trace, View

router = APIRouter(prefix=PREFIX, tags=["jobs"])
AfterSeq = Annotated[int, Query(ge=0, le=MAX_SEQ, description="The last event already seen.")]


class JobIn(Payload):
    """A task to run: a template and its input. A file is a `file_id` or `{text, name}`."""

    template: Annotated[str, Field(min_length=1, max_length=200)]
    input: dict[str, Any]


class FilesOut(View):
    """A job's files with their download links."""

    files: list[LinkedFile]


@router.post(
    "/jobs",
    status_code=201,
    responses={200: {"model": JobOut, "description": "The job this key stands for already."}},
)
async def submit(
    ops: Ops, caller: Caller, response: Response, body: JobIn, key: Idempotency = None
) -> JobOut:
    """Hold the price and queue a task; 200 instead of 201 if the idempotency key was used."""
    submitted = await ops.submit_task(caller, body.template, body.input, key)
    response.status_code = 201 if submitted.is_new else 200
    response.headers["location"] = f"/v1/jobs/{submitted.job.job_id}"
    return JobOut.of(submitted.job)


@router.get("/jobs")
async def list_jobs(
    ops: Ops,
    caller: Caller,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    before: Annotated[UUID | None, Query(description="`next` of the page before.")] = None,
) -> JobPage:
    """The caller's jobs, newest first."""
    return await ops.jobs(caller, limit, before)


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
