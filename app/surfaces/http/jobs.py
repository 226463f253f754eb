"""Routes of jobs: submit, look, cancel, trace, files."""

from typing import Annotated, Literal
from uuid import UUID

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import AwareDatetime

from app.kernel.errors import AppError, Code
from app.surfaces.asked import Asked
from app.surfaces.batches import Batch, ToolJob
from app.surfaces.charging import BillingMode, Charging, MaxCredits
from app.surfaces.http.dependencies import PREFIX, Caller, Idempotency, Ops, base_url
from app.surfaces.http.doubles import refuse_doubled_names
from app.surfaces.operations import MAX_SEQ, PAGE
from app.surfaces.terms import LimitKey, Priority, RunAt, Terms, Webhook
from app.surfaces.views import BatchOut, JobOut, JobPage, JobStatus, LinkedFile, Trace, View
from app.surfaces.workflows import Run

router = APIRouter(prefix=PREFIX, tags=["jobs"])
AfterSeq = Annotated[int, Query(ge=0, le=MAX_SEQ, description="The last event already seen.")]


class JobIn(Asked):
    """What to run and how to queue it."""

    priority: Priority = 0
    run_at: RunAt = None
    limit_key: LimitKey = None
    webhook: Webhook = None
    billing: BillingMode = "outcome"
    max_credits: MaxCredits = None

    def run(self) -> Run:
        """The run of a workflow that is asked for; its cap is the most that its steps can cost."""
        if self.max_credits is not None:
            raise AppError(
                Code.INVALID_INPUT,
                "A workflow has no cap but the most that its steps can cost.",
                hint="Leave `max_credits` out; POST /v1/workflows/check tells what a run can cost.",
                details={"pointer": "/max_credits"},
            )
        return Run(
            workflow=self.workflow or {},
            version=self.version,
            input=self.input,
            billing=self.billing,
        )


class FilesOut(View):
    """A job's files with their download links."""

    files: list[LinkedFile]


@router.post(
    "/jobs",
    status_code=201,
    response_model=JobOut,
    responses={200: {"model": JobOut, "description": "The job this key stands for already."}},
)
async def submit(
    request: Request, ops: Ops, caller: Caller, body: JobIn, key: Idempotency = None
) -> Response:
    """Hold the price and queue a job; 200 instead of 201 if the idempotency key was used."""
    terms = (key, body.priority, body.run_at, body.limit_key, body.webhook)
    charging = Charging.of(body.billing, body.max_credits)
    if body.tool is not None:
        charging.refuse_usage()
        job = ToolJob(body.tool, body.arguments or {}, *terms)
        submitted = await ops.submit_tool(caller, job)
    elif body.workflow is not None:
        await refuse_doubled_names(request)
        submitted = await ops.workflows.run(caller, body.run(), Terms(*terms))
    else:
        assert body.template is not None
        given = body.input or {}
        submitted = await ops.submit_task(caller, body.template, given, Terms(*terms, charging))
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
        Literal["task", "tool", "workflow"] | None, Query(description="Only jobs of this kind.")
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
    """Cancel a job: at once if it waits, at its next step if it runs. What it held comes
    back, but for what a run in usage mode has used.
    """
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
