"""Jobs in the words of tasks."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from app.orchestration import JobView
from app.surfaces.mcp.longtasks.states import detail_of, status_of, task_of

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
NOW = START + timedelta(minutes=1)


def job(status: str, *, error: dict[str, Any] | None = None, kind: str = "task") -> JobView:
    is_over = status in {"Success", "Failed", "Cancelled", "Dead"}
    return JobView(
        job_id=UUID(int=7),
        user_id=UUID(int=1),
        project_id=None,
        kind=kind,
        status=status,
        definition={},
        price_micro=0,
        charged_micro=0 if is_over else None,
        attempt=1,
        start_time=START,
        end_time=START + timedelta(seconds=30) if is_over else None,
        final_output=None,
        error=error,
    )


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("Queued", "working"),
        ("Running", "working"),
        ("Retrying", "working"),
        ("Waiting", "working"),
        ("Success", "completed"),
        ("Failed", "completed"),
        ("Cancelled", "cancelled"),
        ("Dead", "failed"),
    ],
)
def test_every_state_of_a_job_is_one_of_a_task(state: str, status: str) -> None:
    task = task_of(job(state), NOW, 0)
    assert (task["status"], task["ttlMs"]) == (status, None)
    assert ("pollIntervalMs" in task) == (status == "working")
    result = {"content": []}
    found = detail_of(job(state), [], result)
    wanted = {"completed": {"result"}, "failed": {"error"}}.get(status, set())
    assert set(found) == wanted


def test_a_call_that_its_server_refused_is_a_failed_task() -> None:
    refused = {"code": "tool_failed", "message": "No.", "details": {"rpc_error": {"code": -32099}}}
    failed = job("Failed", error=refused, kind="tool")
    assert status_of(failed, []) == "failed"
    error = detail_of(failed, [], None)["error"]
    assert (error["code"], error["message"]) == (-32099, "No.")
    dead = job("Dead", error={"code": "attempts_exhausted", "message": "Five times."})
    error = detail_of(dead, [], None)["error"]
    assert (error["code"], error["data"]["code"]) == (-32603, "attempts_exhausted")


def test_times_are_those_of_the_job() -> None:
    day_ms = 86_400_000
    living = task_of(job("Running"), NOW, 7)
    assert (living["createdAt"], living["lastUpdatedAt"]) == ("2026-01-01T12:00:00.000Z",) * 2
    assert living["ttlMs"] == 7 * day_ms + 60_000
    ended = task_of(job("Success"), NOW, 7)
    assert ended["lastUpdatedAt"] == "2026-01-01T12:00:30.000Z"
    assert ended["ttlMs"] == 7 * day_ms + 30_000
