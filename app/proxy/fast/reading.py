"""Reads a raw `CallToolResult`: its shape is checked, what need not be decoded stays bytes.

The checks are those of `app.proxy.results`; the two are compared by a test over one corpus.
"""

from typing import Any, NamedTuple

import msgspec
import orjson

from app.kernel.errors import AppError
from app.proxy.backends.raw import raw_error
from app.proxy.faults import protocol_error
from app.proxy.results import error_of, measure, structured_of
from app.proxy.schemas import Schemas
from app.proxy.types import RawResult
from app.registry import ToolDefinition

_NO_RESULT = "answered with no tool result"


_NOTHING = msgspec.Raw()
_NULL = b"null"


class _Block(msgspec.Struct, gc=False):
    """A content block; of a kind that is not known here nothing else is asked."""

    type: str
    text: msgspec.Raw = _NOTHING


class _Result(msgspec.Struct, gc=False, rename="camel"):
    content: msgspec.Raw
    structured_content: msgspec.Raw = _NOTHING
    is_error: bool = False
    result_type: str = "complete"


_results = msgspec.json.Decoder(_Result)
_blocks = msgspec.json.Decoder(list[_Block])


class Reading(NamedTuple):
    """The parts of an answer, as raw JSON."""

    content: bytes
    structured: bytes | None
    error: AppError | None


def read_result(body: bytes, definition: ToolDefinition, schemas: Schemas, limit: int) -> Reading:
    """The parts of the raw `result` of a `tools/call`.

    Raises `tool_protocol_error` for what is no tool result or breaks the output schema,
    `tool_output_too_large`.
    """
    try:
        found = _results.decode(body)
        content = bytes(found.content)
        blocks = _blocks.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise protocol_error(definition.server, _NO_RESULT) from error
    if not all(one.type != "text" or bytes(one.text)[:1] == b'"' for one in blocks):
        raise protocol_error(definition.server, _NO_RESULT)
    if found.result_type != "complete":
        raise protocol_error(definition.server, "answered with something else than a result")
    given = bytes(found.structured_content)
    structured = None if given in (b"", _NULL) else given
    if not _is_plain(structured, body, is_error=found.is_error):
        return _read_all(content, structured, definition, schemas, limit, is_error=found.is_error)
    assert structured is not None
    if definition.output_schema is not None:
        _check_output(structured, definition, schemas)
    return Reading(content, structured, None)


def read_error(raw: bytes, definition: ToolDefinition) -> Reading:
    """A raw JSON-RPC error as the tool's own refusal. Raises `tool_protocol_error`."""
    raw_refusal = raw_error(raw, definition.server)
    return Reading(b"[]", None, error_of(definition, raw_refusal, None))


def _is_plain(structured: bytes | None, body: bytes, *, is_error: bool) -> bool:
    """Whether an answer can be passed on as it came: what a tool with structured answers gives."""
    return (
        not is_error
        and structured is not None
        and structured[:1] == b"{"
        and b"\\u0000" not in body
    )


def _check_output(structured: bytes, definition: ToolDefinition, schemas: Schemas) -> None:
    problem = schemas.explain_output(definition, _loads(structured, definition))
    if problem is not None:
        text = f"broke the output schema of {definition.name}: {problem}"
        raise protocol_error(definition.server, text)


def _read_all(
    content: bytes,
    structured: bytes | None,
    definition: ToolDefinition,
    schemas: Schemas,
    limit: int,
    *,
    is_error: bool,
) -> Reading:
    raw = RawResult(
        structured=None if structured is None else _loads(structured, definition),
        content=_loads(content, definition),
        is_error=is_error,
    )
    measure(definition, raw, limit)
    value = structured_of(definition, raw, schemas)
    shown = None if value is None else orjson.dumps(value)
    return Reading(content, shown, error_of(definition, raw, value))


def _loads(raw: bytes, definition: ToolDefinition) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise protocol_error(
            definition.server, "answered with something that is no JSON"
        ) from error
