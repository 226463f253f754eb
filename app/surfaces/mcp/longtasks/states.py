"""Jobs in the words of tasks: state, times, what is asked, how it ended."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from mcp_types import INTERNAL_ERROR

from app.orchestration import JobView
from app.surfaces.mcp.live import input_request
from app.surfaces.mcp.results import Result
from app.surfaces.workflows.views import QuestionOut

TaskStatus = Literal["working", "input_required", "completed", "failed", "cancelled"]
# A run that was refused by its checks is an answer of the tool, as it is without tasks. One that
# was put aside after all its attempts gave no answer at all.
_ENDED: Mapping[str, TaskStatus] = {
    "Success": "completed",
    "Failed": "completed",
    "Cancelled": "cancelled",
    "Dead": "failed",
}
_MESSAGES: Mapping[str, str] = {
    "Queued": "Waits for its turn.",
    "Running": "Runs.",
    "Retrying": "Failed and will be tried again.",
    "Waiting": "Waits.",
    "Success": "Succeeded.",
}
_YOUNG = timedelta(seconds=15)
_OLD = timedelta(minutes=5)


def status_of(job: JobView, questions: Sequence[QuestionOut]) -> TaskStatus:
    """The task state of a job; `questions` are those its client can answer."""
    if _is_protocol_error(job):
        return "failed"
    if job.is_terminal:
        return _ENDED[job.status]
    return "input_required" if questions else "working"


def task_of(
    job: JobView, now: datetime, retention_days: int, questions: Sequence[QuestionOut] = ()
) -> dict[str, Any]:
    """The `Task` of a job.

    `ttlMs` counts from `createdAt`; null where ended jobs are kept for ever. `lastUpdatedAt` is
    the last change that the client can see: the end, or the newest question.
    """
    changed = job.end_time or max([one.asked_at for one in questions], default=job.start_time)
    task: dict[str, Any] = {
        "taskId": str(job.job_id),
        "status": status_of(job, questions),
        "createdAt": _moment(job.start_time),
        "lastUpdatedAt": _moment(changed),
        "ttlMs": _ttl_ms(job, retention_days, now),
    }
    if message := _message(job, questions):
        task["statusMessage"] = message
    if not job.is_terminal:
        task["pollIntervalMs"] = _poll_ms(now - job.start_time)
    return task


def detail_of(job: JobView, questions: Sequence[QuestionOut], result: Result | None) -> Result:
    """What `tasks/get` adds in the job's state: `result`, `error` or `inputRequests`."""
    match status_of(job, questions):
        case "completed":
            return {"result": result}
        case "failed":
            return {"error": _error_of(job)}
        case "input_required":
            # A step asks once in a run, so its path is never another question's key.
            return {"inputRequests": {one.path: input_request(one) for one in questions}}
        case _:
            return {}


def _is_protocol_error(job: JobView) -> bool:
    """Whether the tool's server refused the call itself, which without tasks is no result."""
    return job.status == "Failed" and "rpc_error" in ((job.error or {}).get("details") or {})


def _error_of(job: JobView) -> dict[str, Any]:
    error = dict(job.error or {})
    code = INTERNAL_ERROR
    if _is_protocol_error(job):
        code = int(error["details"]["rpc_error"].get("code", INTERNAL_ERROR))
    return {"code": code, "message": str(error.get("message", "The job failed.")), "data": error}


def _message(job: JobView, questions: Sequence[QuestionOut]) -> str | None:
    if job.error is not None:
        return str(job.error.get("message", job.status))
    if questions:
        return f"Asks: {questions[0].title}"
    return _MESSAGES.get(job.status)


def _ttl_ms(job: JobView, retention_days: int, now: datetime) -> int | None:
    """Jobs are kept for so many days after their end, so a living one has all of them left."""
    if retention_days == 0:
        return None
    ended = job.end_time or now
    kept = ended - job.start_time + timedelta(days=retention_days)
    return round(kept.total_seconds() * 1000)


def _poll_ms(age: timedelta) -> int:
    """Most runs end in seconds; one that does not is in no hurry."""
    if age < _YOUNG:
        return 500
    return 2_000 if age < _OLD else 5_000


def _moment(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
