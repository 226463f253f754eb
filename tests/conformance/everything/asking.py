"""Asks the client for something in the way of its era.

Until 2025-11-25 the server sends a request on the stream of the call and awaits the answer. Since
2026-07-28 the call ends with `input_required`, and the client calls again with the answers.
"""

from typing import Any

import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.shared.message import ServerMessageMetadata
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import TypeAdapter

from tests.conformance.everything.blocks import Wire

Context = ServerRequestContext[Any, Any]
_REQUEST: TypeAdapter[Any] = TypeAdapter(types.ServerRequest)
_RESULTS: dict[str, type[types.Result]] = {
    "elicitation/create": types.ElicitResult,
    "sampling/createMessage": types.CreateMessageResult,
    "roots/list": types.ListRootsResult,
}


def is_modern(context: Context) -> bool:
    return context.protocol_version in MODERN_PROTOCOL_VERSIONS


def form(message: str, **properties: Wire) -> Wire:
    """A request for a filled form; every property is required."""
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return elicitation(message, schema)


def elicitation(message: str, schema: Wire) -> Wire:
    return {
        "method": "elicitation/create",
        "params": {"mode": "form", "message": message, "requestedSchema": schema},
    }


def sampling(prompt: str, most: int = 100) -> Wire:
    """A request for a completion by the client's model."""
    message = {"role": "user", "content": {"type": "text", "text": prompt}}
    return {
        "method": "sampling/createMessage",
        "params": {"messages": [message], "maxTokens": most},
    }


def roots() -> Wire:
    return {"method": "roots/list", "params": {}}


def needed(requests: dict[str, Wire], state: str | None = None) -> Wire:
    """The interim result that asks for input (2026-07-28, multi-round-trip requests)."""
    asked: Wire = {"resultType": "input_required", "inputRequests": requests}
    return asked if state is None else asked | {"requestState": state}


def given(context: Context) -> dict[str, Wire]:
    """The answers this call carries, by the key they were asked under."""
    return dict((context.params or {}).get("inputResponses") or {})


def state(context: Context) -> str | None:
    """The state this call brings back, already unsealed."""
    return (context.params or {}).get("requestState")


async def _ask_on_stream(context: Context, request: Wire) -> Wire:
    result = await context.session.send_request(
        _REQUEST.validate_python(request),
        _RESULTS[request["method"]],
        metadata=ServerMessageMetadata(related_request_id=context.request_id),
    )
    return result.model_dump(mode="json", by_alias=True, exclude_none=True)


async def ask(context: Context, requests: dict[str, Wire]) -> dict[str, Wire] | None:
    """The answers to all of `requests`; None if the client must be asked by `needed`."""
    if not is_modern(context):
        return {key: await _ask_on_stream(context, one) for key, one in requests.items()}
    answers = given(context)
    return answers if requests.keys() <= answers.keys() else None
