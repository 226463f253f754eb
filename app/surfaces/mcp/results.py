"""Answers and errors in MCP's terms; an error carries the code it has over HTTP."""

from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any

import orjson
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from app.kernel.errors import AppError, Code
from app.surfaces.mcp.calls import Context
from app.surfaces.problems import unexpected

Result = dict[str, Any]
_RESOURCE_NOT_FOUND = -32002
"""What revisions before 2026-07-28 say of a missing resource; that one says invalid params."""


def answer(structured: Mapping[str, Any], *, is_error: bool = False) -> Result:
    """A tool's result: structured, and as text for clients that read only that."""
    text = orjson.dumps(structured, default=str).decode()
    return {
        "content": [{"type": "text", "text": text}],
        "structuredContent": dict(structured),
        "isError": is_error,
        "resultType": "complete",
    }


def failure(error: AppError, charged_micro: int = 0) -> Result:
    """A tool's result that is an error: for people as text, for programs as `code`."""
    meta = {"_meta": {"uaol/charged_micro": charged_micro}} if charged_micro else {}
    text = f"{error.message} {error.hint or ''}".strip()
    return answer(error.as_dict(), is_error=True) | {
        "content": [{"type": "text", "text": f"{error.code.value}: {text}"}],
        **meta,
    }


def protocol_error(error: AppError, code: int = INVALID_PARAMS) -> MCPError:
    """A JSON-RPC error that carries an `AppError`."""
    data = error.as_dict()
    if error.code is Code.NOT_FOUND and "uri" in error.details:
        # Where the specification has it (2026-07-28, "Resources", errors).
        data["uri"] = error.details["uri"]
    return MCPError(code, error.message, data)


Handler = Callable[[Context, Any], Awaitable[Result]]


def guarded_tool(handler: Handler) -> Handler:
    """Errors become tool results; only an unknown tool is a protocol error, as the spec says."""

    @wraps(handler)
    async def guarded(context: Context, params: Any) -> Result:
        try:
            return await handler(context, params)
        except AppError as error:
            if error.code is Code.TOOL_UNKNOWN:
                raise protocol_error(error) from error
            return failure(error)
        except MCPError:
            raise
        except Exception as error:  # noqa: BLE001 - the border; its cause is in the log
            return failure(unexpected(error, f"tools/call {params.name}"))

    return guarded


def guarded(handler: Handler) -> Handler:
    """Errors become JSON-RPC errors with the same code in their data."""

    @wraps(handler)
    async def answered(context: Context, params: Any) -> Result:
        try:
            return await handler(context, params)
        except AppError as error:
            is_legacy = context.protocol_version not in MODERN_PROTOCOL_VERSIONS
            if error.code is Code.NOT_FOUND and is_legacy:
                raise protocol_error(error, _RESOURCE_NOT_FOUND) from error
            raise protocol_error(error) from error
        except MCPError:
            raise
        except Exception as error:
            raise protocol_error(unexpected(error, context.method), INTERNAL_ERROR) from error

    return answered
