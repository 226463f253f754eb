"""One `tools/call` over an open client, its outcome read as a result or a fault."""

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

import mcp_types
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import CONNECTION_CLOSED, METHOD_NOT_FOUND, PARSE_ERROR
from pydantic import ConfigDict, ValidationError

from app.kernel.errors import AppError
from app.proxy.backends.base import Link
from app.proxy.faults import protocol_error
from app.proxy.telling import Teller, teller
from app.proxy.types import RawResult

_WIDTH = 2000


class _AnyResult(mcp_types.Result):
    """A result that somebody else reads."""

    model_config = ConfigDict(extra="allow")


class Exchange:
    """What the transport noticed about one call; reached through `current`."""

    def __init__(self) -> None:
        self.fault: AppError | None = None


# The SDK carries a caller's context into the task that sends its request.
current: ContextVar[Exchange | None] = ContextVar("exchange", default=None)


async def exchange(client: Client, link: Link, name: str, arguments: dict[str, Any]) -> RawResult:
    """Call the tool. Raises an AppError for every fault that is not the tool's own refusal."""
    notes = Exchange()
    token = current.set(notes)
    try:
        return _raw(await _send(client, name, arguments))
    except MCPError as error:
        return _read_error(error, link, notes)
    except (ValidationError, RuntimeError) as error:
        raise notes.fault or protocol_error(link.server, "answered with no tool result") from error
    finally:
        current.reset(token)


async def ask(
    client: Client,
    link: Link,
    method: str,
    params: Mapping[str, Any],
    on_progress: Teller | None = None,
) -> dict[str, Any]:
    """The result of any request. Raises MCPError with the server's own error, else AppErrors."""
    notes = Exchange()
    token = current.set(notes)
    request = mcp_types.Request[Any, Any](method=method, params=dict(params))
    try:
        result = await client.session.send_request(
            request, _AnyResult, progress_callback=on_progress
        )
        return result.model_dump(mode="json", by_alias=True, exclude_unset=True)
    except MCPError as error:
        if notes.fault is not None:
            raise notes.fault from error
        if error.code == CONNECTION_CLOSED:
            raise link.down() from error
        raise
    except (ValidationError, RuntimeError) as error:
        raise notes.fault or protocol_error(link.server, "answered with no result") from error
    finally:
        current.reset(token)


async def _send(client: Client, name: str, arguments: dict[str, Any]) -> mcp_types.CallToolResult:
    params = mcp_types.CallToolRequestParams(name=name, arguments=arguments)
    # Not `Client.call_tool`: it would check the answer a second time, 50 times slower.
    return await client.session.send_request(
        mcp_types.CallToolRequest(params=params),
        mcp_types.CallToolResult,
        progress_callback=teller(),
    )


def _raw(result: mcp_types.CallToolResult) -> RawResult:
    return RawResult(
        structured=result.structured_content,
        content=[
            block.model_dump(mode="json", by_alias=True, exclude_none=True)
            for block in result.content
        ],
        is_error=bool(result.is_error),
    )


def _read_error(error: MCPError, link: Link, notes: Exchange) -> RawResult:
    if notes.fault is not None:
        raise notes.fault from error
    if error.code == CONNECTION_CLOSED:
        raise link.down() from error
    if error.code in (PARSE_ERROR, METHOD_NOT_FOUND):
        raise protocol_error(link.server, "cannot be understood") from error
    text = error.error.message[:_WIDTH]
    told = {"code": error.code, "message": text}
    return RawResult(content=[{"type": "text", "text": text}], is_error=True, rpc_error=told)
