"""Requests to a server on a client's behalf, and what that server asks back.

A server of 2026-07-28 asks by ending a request as `input_required`: a client of that revision is
told so, an older one is sent the questions, and the request is repeated with its answers. A call
is paid for when it is answered, however often it was sent.
"""

from collections.abc import Mapping
from typing import Any

import mcp_types as types
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ConfigDict

from app.proxy import RawResult, ToolCall, ToolResult, Upstream, param_headers, raw_result_of
from app.registry import Tool
from app.surfaces.mcp.calls import Call, Context
from app.surfaces.mcp.longtasks import untold
from app.surfaces.mcp.results import Result, failure
from app.surfaces.operations import Operations

_ASKS = "input_required"
_NONE: Mapping[str, str] = {}
_ROUNDS = 10
_RESERVED = "io.modelcontextprotocol/"
_NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
# People answer; the call's own time runs on the server only.
_ANSWER_S = 600.0
# What a server may ask of a client, by the capability it needs for it.
_QUESTIONS = {
    "elicitation/create": "elicitation",
    "sampling/createMessage": "sampling",
    "roots/list": "roots",
}


class UnfinishedCallError(Exception):
    """A call that ended in a question; nothing is charged until it is answered."""

    def __init__(self, result: Mapping[str, Any]) -> None:
        super().__init__(_ASKS)
        self.result = dict(result)


class _Anything(types.Result):
    """A client's answer, which the server reads."""

    model_config = ConfigDict(extra="allow")


class Asking:
    """Carries requests to servers that may ask back."""

    def __init__(self, operations: Operations) -> None:
        self._ops = operations

    def suits(self, context: Context, tool: Tool) -> Upstream | None:
        """The tool's server if it can ask, and the client can be asked; else None."""
        if not capabilities_of(context).keys() & {*_QUESTIONS.values(), "extensions"}:
            return None
        upstream = self._ops.services.proxy.upstream(tool.server)
        is_able = upstream is not None and upstream.target is not None
        return upstream if is_able and not tool.definition.takes_files else None

    async def call(
        self, context: Context, upstream: Upstream, name: str, arguments: Mapping[str, Any]
    ) -> Result:
        """One `tools/call` under the server's own `name`, checked, held and settled.

        The server's result comes as it is, its own refusal (`isError`) with it. Raises what every
        call raises, and MCPError with the server's own error.
        """
        params = dict(context.params or {}) | {"name": name}
        # Tasks are made here, of jobs; a server's own could not be charged.
        params.pop("task", None)
        final: list[Result] = []

        async def carry(
            tool: Tool, _call: ToolCall, given: dict[str, Any], timeout_s: float
        ) -> RawResult:
            await upstream.check(tool, timeout_s)
            sent = params | {"arguments": given}
            headers = param_headers(tool.definition, given)
            result = await self.ask(context, upstream, "tools/call", sent, timeout_s, headers)
            if result.get("resultType") == _ASKS:
                raise UnfinishedCallError(result)
            final.append(result)
            return raw_result_of(result, upstream.name)

        principal = Call.of(context).principal
        try:
            result, charged = await self._ops.calls.call(
                principal, f"{upstream.name}.{name}", arguments, carrier=carry
            )
        except UnfinishedCallError as unfinished:
            return unfinished.result
        return _shown(final[-1], result, charged)

    async def ask(
        self,
        context: Context,
        upstream: Upstream,
        method: str,
        params: Mapping[str, Any],
        timeout_s: float | None = None,
        headers: Mapping[str, str] = _NONE,
    ) -> Result:
        """The server's result to one request; an older client is asked its questions meanwhile."""
        sent = _stripped(params)
        for _ in range(_ROUNDS):
            result = await upstream.request(
                Call.of(context).principal,
                method,
                sent,
                timeout_s=timeout_s or self._ops.services.settings.tool_timeout,
                name=params.get(_NAMED.get(method, "")),
                headers=headers,
                capabilities=untold(capabilities_of(context)),
                on_progress=context.session.report_progress,
            )
            if context.protocol_version in MODERN_PROTOCOL_VERSIONS:
                # An older server's results have none.
                return {"resultType": "complete"} | result
            if result.get("resultType") != _ASKS:
                return result
            sent = _stripped(params) | await _answers(context, result)
        raise MCPError(types.INTERNAL_ERROR, "The server asks without end")


def capabilities_of(context: Context) -> dict[str, Any]:
    """What the client said it can do."""
    declared = context.session.client_capabilities
    if declared is None:
        return {}
    return declared.model_dump(mode="json", by_alias=True, exclude_none=True)


async def _answers(context: Context, result: Mapping[str, Any]) -> dict[str, Any]:
    """What the client says to the server's questions, to be sent with the request again."""
    asked = dict(result.get("inputRequests") or {})
    answers = {key: await _ask_client(context, question) for key, question in asked.items()}
    found: dict[str, Any] = {"inputResponses": answers}
    if "requestState" in result:
        found["requestState"] = result["requestState"]
    return found


async def _ask_client(context: Context, asked: Mapping[str, Any]) -> Any:
    method = asked.get("method", "")
    if _QUESTIONS.get(method) not in capabilities_of(context):
        raise MCPError(types.INTERNAL_ERROR, "The server asks what its client cannot answer")
    request = types.Request[Any, Any](method=method, params=asked.get("params") or {})
    answer = await context.session.send_request(
        request,  # type: ignore[arg-type]
        _Anything,
        request_read_timeout_seconds=_ANSWER_S,
        metadata=ServerMessageMetadata(related_request_id=context.request_id),
    )
    return answer.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _stripped(params: Mapping[str, Any]) -> dict[str, Any]:
    """Params without what belongs to this leg of the way: envelope and progress token."""
    meta = {
        key: value
        for key, value in dict(params.get("_meta") or {}).items()
        if not key.startswith(_RESERVED) and key != "progressToken"
    }
    rest = {key: value for key, value in params.items() if key != "_meta"}
    return rest | ({"_meta": meta} if meta else {})


def _shown(final: Result, result: ToolResult, charged: int) -> Result:
    """The server's own result, with what it cost; a refusal with its code."""
    if result.error is not None and "structuredContent" not in final:
        return failure(result.error) | {"content": final["content"]}
    meta = dict(final.get("_meta") or {}) | {"uaol/charged_micro": charged}
    return final | {"_meta": meta}
