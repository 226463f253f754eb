"""What a job gives to the tool call that began it."""

from collections.abc import Mapping
from typing import Any

from app.kernel.principal import Scope
from app.orchestration import JobView
from app.surfaces.mcp.calls import Call
from app.surfaces.mcp.results import Result, answer
from app.surfaces.operations import Operations
from app.surfaces.views import JobOut, JobWithFiles, LinkedFile


async def outcome(operations: Operations, call: Call, job: JobView) -> Result:
    """The result of the tool that a job runs for, in any of the job's states.

    A tool's own answer for a job of one call that has ended; else the job itself, with links to
    the files of a task that has ended. A run that failed is an error under its cause's code.
    """
    if job.kind == "tool" and job.is_terminal:
        return _of_tool(job)
    shown = JobOut.of(job)
    if job.kind == "task":
        files = await _files(operations, call, job)
        shown = JobWithFiles(**JobOut.fields_of(job), files=files)
    if job.error is None:
        return answer(shown.as_json())
    return answer({**job.error, **shown.as_json()}, is_error=True)


async def _files(operations: Operations, call: Call, job: JobView) -> list[LinkedFile]:
    if not job.is_terminal or not call.principal.scopes & {Scope.FILES, Scope.ADMIN}:
        return []
    found = await operations.job_files(call.principal, job.job_id)
    return operations.files.linked(found, call.base_url)


def _of_tool(job: JobView) -> Result:
    if job.error is not None:
        error = job.error
        text = f"{error['code']}: {error['message']} {error.get('hint', '')}".strip()
        return answer(error, is_error=True) | {"content": [{"type": "text", "text": text}]}
    charged: Result = {"_meta": {"uaol/charged_micro": job.charged_micro or 0}}
    output = dict(job.final_output or {})
    if _is_content(output):
        blocks: Result = {"content": output["content"], "isError": False}
        return blocks | {"resultType": "complete"} | charged
    return answer(output) | charged


def _is_content(output: Mapping[str, Any]) -> bool:
    """Whether a tool job's output is the content blocks of a tool without structured answers."""
    blocks = output.get("content")
    return (
        set(output) == {"content"}
        and isinstance(blocks, list)
        and all(isinstance(block, dict) and "type" in block for block in blocks)
    )
