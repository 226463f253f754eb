"""The Tasks extension for the SDK's client, written for the tests as an application would."""

from collections.abc import Callable
from typing import Any, Literal

from mcp import Client
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp_types import CallToolResult, Request, RequestParams, Result

from tests.surfaces.mcp_tasks.raw import TASKS


class TaskParams(RequestParams):
    task_id: str


class TaskGet(Request[TaskParams, Literal["tasks/get"]]):
    method: Literal["tasks/get"] = "tasks/get"
    params: TaskParams
    name_param = "taskId"


class TaskCancel(Request[TaskParams, Literal["tasks/cancel"]]):
    method: Literal["tasks/cancel"] = "tasks/cancel"
    params: TaskParams
    name_param = "taskId"


class TaskCreated(Result):
    result_type: Literal["task"]
    task_id: str
    status: str


class TaskShown(Result):
    task_id: str
    status: str
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


class Following(ClientExtension):
    """Polls a task to its end; keeps what it was given."""

    identifier = TASKS

    def __init__(self, on_created: Callable[[], None]) -> None:
        self.created: list[TaskCreated] = []
        self._on_created = on_created

    def claims(self) -> list[ResultClaim[Any]]:
        return [ResultClaim(result_type="task", model=TaskCreated, resolve=self.resolve)]

    async def resolve(self, made: TaskCreated, context: ClaimContext) -> CallToolResult:
        self.created.append(made)
        self._on_created()
        while True:
            params = TaskParams(task_id=made.task_id)
            shown = await context.session.send_request(TaskGet(params=params), TaskShown)
            if shown.status not in {"working", "input_required"}:
                return CallToolResult.model_validate(shown.result, by_name=False)


async def cancel(client: Client, task_id: str) -> Result:
    """Cancel a task."""
    params = TaskParams(task_id=task_id)
    return await client.session.send_request(TaskCancel(params=params), Result)
