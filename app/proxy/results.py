"""Reads a backend's raw answer: its size, its shape, and a tool's own refusal as an error."""

import re
from typing import Any

import orjson

from app.kernel.errors import AppError, Code, app_error
from app.proxy.faults import output_too_large, protocol_error
from app.proxy.schemas import Schemas
from app.proxy.types import RawResult
from app.registry import ToolDefinition

_WIDTH = 2000
# An escaped NUL, which no text column of PostgreSQL can hold; an escaped backslash is none.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
# A tool judges its input; codes of the platform's own, such as of wallets or leases, are not
# its to give.
_TOOL_CODES = frozenset(
    code.value
    for code in (
        Code.INVALID_INPUT,
        Code.UNKNOWN_FIELD,
        Code.CHECK_FAILED,
        Code.EMPTY_FILE,
        Code.FILE_TOO_LARGE,
        Code.NOT_A_SEQUENCE,
        Code.PROTEIN_NOT_DNA,
        Code.GENE_NOT_FOUND,
        Code.NO_CODING_SEQUENCE,
        Code.NO_PAM_SITE,
        Code.BAD_LOCATION,
        Code.UNKNOWN_VECTOR,
        Code.VECTOR_SITE_MISSING,
        Code.NO_PRIMERS,
        Code.NO_GUIDE,
    )
)
_SYNONYMS = {"invalid_argument": Code.INVALID_INPUT.value}


def size_of(value: Any) -> int | None:
    """Bytes of a value as JSON, or None if it cannot be written as JSON."""
    try:
        return len(orjson.dumps(value))
    except orjson.JSONEncodeError:
        return None


def measure(definition: ToolDefinition, raw: RawResult, limit: int) -> int:
    """Bytes of an answer. Raises `tool_output_too_large` or `tool_protocol_error`."""
    try:
        data = orjson.dumps([raw.structured, raw.content])
    except orjson.JSONEncodeError as error:
        raise protocol_error(
            definition.server, "answered with something that is no JSON"
        ) from error
    size = len(data)
    if _NUL.search(data):
        raise protocol_error(definition.server, "answered with a NUL character")
    if size > limit:
        raise output_too_large(definition.server, limit)
    return size


def structured_of(
    definition: ToolDefinition, raw: RawResult, schemas: Schemas
) -> dict[str, Any] | None:
    """The structured answer as an object, checked against the tool's output schema.

    Without one, a single text that is a JSON object is taken; a value that is no object comes
    as `{"result": value}`. Raises `tool_protocol_error` where the schema is not met.
    """
    value = raw.structured if raw.structured is not None else _parsed(raw.content)
    if not raw.is_error and definition.output_schema is not None:
        problem = "it gave none" if value is None else schemas.explain_output(definition, value)
        if problem is not None:
            text = f"broke the output schema of {definition.name}: {problem}"
            raise protocol_error(definition.server, text)
    return value if value is None or isinstance(value, dict) else {"result": value}


def error_of(
    definition: ToolDefinition, raw: RawResult, structured: dict[str, Any] | None
) -> AppError | None:
    """The error a tool reported, with its own code where that is one a tool may give."""
    if not raw.is_error:
        return None
    if raw.rpc_error is not None:
        message = _text(raw.rpc_error["message"]) or f"{definition.full_name} failed."
        return AppError(Code.TOOL_FAILED, message, details={"rpc_error": dict(raw.rpc_error)})
    given = structured or {}
    message = _text(given.get("message")) or _first_text(raw.content)
    hint = _text(given.get("hint"))
    code = _text(given.get("code")) or Code.TOOL_FAILED.value
    code = _SYNONYMS.get(code, code)
    if code in _TOOL_CODES:
        return app_error(code, message, hint)
    details = {} if code == Code.TOOL_FAILED else {"reported_code": code[:64]}
    return AppError(
        Code.TOOL_FAILED, message or f"{definition.full_name} failed.", hint=hint, details=details
    )


def _parsed(content: list[dict[str, Any]]) -> dict[str, Any] | None:
    if len(content) != 1 or content[0].get("type") != "text":
        return None
    try:
        value = orjson.loads(content[0]["text"])
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _first_text(content: list[dict[str, Any]]) -> str:
    texts = (block.get("text") for block in content if block.get("type") == "text")
    return next((_text(text) or "" for text in texts), "")


def _text(value: Any) -> str | None:
    return value[:_WIDTH] if isinstance(value, str) and value else None
