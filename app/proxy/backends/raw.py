"""A server's raw result of `tools/call`, read as far as the platform needs it."""

from typing import Any

import orjson
from mcp_types import INTERNAL_ERROR, METHOD_NOT_FOUND, PARSE_ERROR

from app.proxy.faults import protocol_error
from app.proxy.types import RawResult

_WIDTH = 2000
_COMPLETE = (None, "complete")


def raw_result(body: bytes, server: str) -> RawResult:
    """The result in raw JSON. Raises `tool_protocol_error` for what is no result of a tool."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise protocol_error(server, "answered with no tool result") from error
    return raw_result_of(found, server)


def raw_result_of(found: Any, server: str) -> RawResult:
    """The result in a parsed answer; keys that are not known stay out of it.

    Raises `tool_protocol_error` where content is missing or malformed, and for a question back,
    which only callers who pass it on can take.
    """
    if not isinstance(found, dict) or not _is_content(found.get("content")):
        raise protocol_error(server, "answered with no tool result")
    if found.get("resultType") not in _COMPLETE:
        raise protocol_error(server, "answered with something else than a result")
    return RawResult(
        structured=found.get("structuredContent"),
        content=found["content"],
        is_error=found.get("isError") is True,
    )


def _is_content(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_block, value))


def _is_block(block: Any) -> bool:
    if not isinstance(block, dict) or not isinstance(block.get("type"), str):
        return False
    return block["type"] != "text" or isinstance(block.get("text"), str)


def raw_error(error: bytes, server: str) -> RawResult:
    """A raw JSON-RPC error as the tool's own refusal.

    Raises `tool_protocol_error` where the server says that it did not understand.
    """
    try:
        found = orjson.loads(error)
        code, message = found["code"], found["message"]
    except (orjson.JSONDecodeError, KeyError, TypeError) as fault:
        raise protocol_error(server, "answered with no tool result") from fault
    if code in (PARSE_ERROR, METHOD_NOT_FOUND) or not isinstance(message, str):
        raise protocol_error(server, "cannot be understood")
    text = message[:_WIDTH]
    told = {"code": code if isinstance(code, int) else INTERNAL_ERROR, "message": text}
    return RawResult(content=[{"type": "text", "text": text}], is_error=True, rpc_error=told)
