"""One `tools/call` on its way through: held before it is sent, settled before its answer goes on.

The duties are those of every call (limits, schema, credits, metering); only how the request
reaches the server differs, so the transport's task hands the raw answer in, and waits until it
was paid for. What is no final answer (an error of the protocol, a question back) costs nothing.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson

from app.kernel.errors import AppError, Code
from app.kernel.ids import new_id
from app.kernel.principal import Principal
from app.proxy import RawResult, ToolCall, Upstream, cut, raw_result, server_down
from app.registry import Tool
from app.surfaces.mcp.results import failure
from app.surfaces.problems import unexpected
from app.surfaces.toolcalls import ToolCalls

_ASKS = "input_required"


class UnpaidAnswerError(Exception):
    """An answer that ends nothing: a protocol error, or a question back to the client."""


class ChargedCall:
    """A call whose request somebody else sends, and whose answer somebody else receives."""

    def __init__(
        self,
        calls: ToolCalls,
        principal: Principal,
        upstream: Upstream,
        name: str,
        arguments: Mapping[str, Any],
    ) -> None:
        self._calls, self._principal, self._upstream = calls, principal, upstream
        self._name, self._arguments = f"{upstream.name}.{name}", arguments
        self.tool, self.call_id = name, new_id()
        loop = asyncio.get_running_loop()
        self._admitted: asyncio.Future[Mapping[str, Any]] = loop.create_future()
        self._answer: asyncio.Future[bytes] = loop.create_future()
        self._task = asyncio.create_task(self._run(), name="passed-through-call")

    async def admitted(self) -> Mapping[str, Any]:
        """The arguments to send, once the call may go. Raises what refuses it."""
        either: list[asyncio.Future[Any]] = [self._admitted, self._task]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not self._admitted.done():
            await self._task
            raise AssertionError("a call that ends before it was sent was refused")
        return self._admitted.result()

    async def settle(self, message: bytes) -> bytes | None:
        """Hand the answer in; None if it may go on as it came, else what to say in its place."""
        if self._answer.done():
            return None
        self._answer.set_result(message)
        try:
            # Even if the client goes away now: what was answered is paid for.
            await asyncio.shield(self._task)
        except UnpaidAnswerError:
            return None
        except AppError as error:
            return _in_place_of(message, error)
        except Exception as error:  # noqa: BLE001 - the border; its cause is in the log
            return _in_place_of(message, unexpected(error, f"tools/call {self._name}"))
        return None

    def give_up(self, error: AppError | None = None) -> None:
        """No answer will come: nothing is charged."""
        if not self._admitted.done():
            self._task.cancel()
        elif not self._answer.done():
            self._answer.set_exception(error or server_down(self._upstream.name, "gave no answer"))
            self._answer.exception()
        self._task.add_done_callback(_seen)

    async def _run(self) -> None:
        await self._calls.call(
            self._principal,
            self._name,
            self._arguments,
            carrier=self._carry,
            call_id=self.call_id,
        )

    async def _carry(
        self, tool: Tool, _call: ToolCall, arguments: dict[str, Any], timeout_s: float
    ) -> RawResult:
        """Takes the place of the backend's own way to the server."""
        await self._upstream.check(tool, timeout_s)
        self._admitted.set_result(arguments)
        try:
            async with asyncio.timeout(timeout_s):
                message = await self._answer
        except TimeoutError:
            raise _timed_out(tool, timeout_s) from None
        return read_final(message, tool.server)


def read_final(message: bytes, server: str) -> RawResult:
    """The result in a raw answer. Raises `UnpaidAnswerError` for what is no final one."""
    try:
        parts = cut(message)
    except ValueError as error:
        raise UnpaidAnswerError from error
    if parts.error or not parts.result:
        raise UnpaidAnswerError
    if _result_type(parts.result) == _ASKS:
        raise UnpaidAnswerError
    return raw_result(parts.result, server)


def refusal(request_id: bytes, error: AppError) -> bytes:
    """A refused call as its client is told: an unknown tool by the protocol, all else as result."""
    if error.code is Code.TOOL_UNKNOWN:
        told = {"code": -32602, "message": error.message, "data": error.as_dict()}
        return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (request_id, orjson.dumps(told))
    result = orjson.dumps(failure(error))
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (request_id, result)


def _in_place_of(message: bytes, error: AppError) -> bytes:
    return refusal(cut(message).id, error)


def _result_type(result: bytes) -> Any:
    try:
        return orjson.loads(result).get("resultType")
    except (orjson.JSONDecodeError, AttributeError):
        return None


def _timed_out(tool: Tool, timeout_s: float) -> AppError:
    return AppError(
        Code.TOOL_TIMEOUT,
        f"The tool {tool.full_name} did not answer within {timeout_s:g} s.",
        hint="Give it less to do.",
        details={"tool": tool.full_name, "timeout_s": timeout_s},
    )


def _seen(task: "asyncio.Task[None]") -> None:
    if not task.cancelled():
        task.exception()
