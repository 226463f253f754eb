"""One request to the pass-through: read once, checked, and put together anew for the server.

What goes on is made of the parts that were read here, so that a message with a key given twice
cannot mean one thing to these checks and another to the server.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from mcp.shared.inbound import (
    ERROR_CODE_HTTP_STATUS,
    InboundLadderRejection,
    classify_inbound_request,
    encode_header_value,
    find_duplicated_routing_header,
    mcp_param_headers,
    validate_mcp_param_headers,
    x_mcp_header_map,
)
from mcp.shared.inbound import NAME_BEARING_METHODS as NAMED
from mcp_types import HEADER_MISMATCH, INVALID_PARAMS, INVALID_REQUEST, PARSE_ERROR
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.datastructures import Headers

from app.proxy import Parts, cut, make_notification, make_request, make_response

_UNANSWERED = "notifications/"
_VERSION = "mcp-protocol-version"
# All else stays here: keys, cookies, session ids and addresses of callers are not a server's.
_PASSED_ON = ("accept",)


class RefusedMessageError(Exception):
    """A message that is answered here, with a JSON-RPC error."""

    def __init__(
        self, code: int, message: str, *, request_id: bytes = b"null", data: Any = None
    ) -> None:
        super().__init__(message)
        self.status = ERROR_CODE_HTTP_STATUS.get(code, 400)
        error: dict[str, Any] = {"code": code, "message": message}
        if data is not None:
            error["data"] = data
        self.body = b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (request_id, orjson.dumps(error))


@dataclass(frozen=True, slots=True)
class Inbound:
    """A request or notification; `params` is what its raw `params` say."""

    parts: Parts
    params: Mapping[str, Any]
    is_modern: bool

    @property
    def method(self) -> str:
        """Its method; an answer of the client's has none."""
        return self.parts.method or ""

    @property
    def is_request(self) -> bool:
        """Whether it has to be answered."""
        return self.parts.method is not None and bool(self.parts.id)

    def encode(self, params: bytes | None = None) -> bytes:
        """The message as it goes on, perhaps with other params."""
        whole = self.parts.params if params is None else params
        if self.parts.method is None:
            return make_response(self.parts)
        if self.is_request:
            return make_request(self.parts.id, self.method, whole)
        return make_notification(self.method, whole or b"{}")

    def refuse(self, code: int, message: str, data: Any = None) -> RefusedMessageError:
        """The refusal of this message."""
        return RefusedMessageError(code, message, request_id=self.parts.id or b"null", data=data)


def is_modern(headers: Headers) -> bool:
    """Whether a request says it is of 2026-07-28 or later, or of a version nobody knows."""
    version = headers.get(_VERSION)
    return version is not None and version not in HANDSHAKE_PROTOCOL_VERSIONS


def read(body: bytes, headers: Headers) -> Inbound:
    """The message in a body. Raises `RefusedMessageError` for what is none."""
    try:
        decoded = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise RefusedMessageError(PARSE_ERROR, "Parse error") from None
    parts = _cut(body) if _is_message(decoded) else None
    if parts is None:
        raise RefusedMessageError(INVALID_REQUEST, "The body must be one JSON-RPC message")
    params = decoded.get("params")
    found = Inbound(parts, params if isinstance(params, dict) else {}, is_modern(headers))
    if not isinstance(params, dict | None):
        raise found.refuse(INVALID_PARAMS, "params must be an object")
    if parts.method and not found.is_request and not found.method.startswith(_UNANSWERED):
        raise found.refuse(INVALID_REQUEST, "A request needs an id")
    if found.is_modern and found.is_request:
        _check(found, decoded, headers)
    return found


def _is_message(decoded: Any) -> bool:
    """Whether a value can be one message (JSON-RPC 2.0, sections 4 and 5)."""
    if not isinstance(decoded, dict) or decoded.get("jsonrpc") != "2.0":
        return False
    return "id" not in decoded or isinstance(decoded["id"], str | int)


def _cut(body: bytes) -> Parts | None:
    try:
        parts = cut(body)
    except ValueError:
        return None
    if parts.method is None and not (parts.id and bool(parts.result) != bool(parts.error)):
        return None
    return parts


def _check(found: Inbound, decoded: Mapping[str, Any], headers: Headers) -> None:
    """The envelope and headers of 2026-07-28: complete, once each, and equal to the body."""
    duplicated = find_duplicated_routing_header(headers.items())
    if duplicated is not None:
        raise found.refuse(HEADER_MISMATCH, f"{duplicated} header appears more than once")
    # White space around a value is none of it (RFC 9110, section 5.5).
    trimmed = {name: value.strip(" \t") for name, value in headers.items()}
    verdict = classify_inbound_request(decoded, headers=trimmed)
    if isinstance(verdict, InboundLadderRejection):
        raise found.refuse(verdict.code, verdict.message, verdict.data)


def check_params(found: Inbound, schema: Mapping[str, Any], headers: Headers) -> dict[str, str]:
    """The `Mcp-Param-*` headers of a call, made anew from its arguments.

    Raises `RefusedMessageError` where those that came say something else.
    """
    arguments = found.params.get("arguments")
    given = arguments if isinstance(arguments, dict) else {}
    rejection = validate_mcp_param_headers(schema, given, headers)
    if rejection is not None:
        raise found.refuse(rejection.code, rejection.message, rejection.data)
    return mcp_param_headers(x_mcp_header_map(schema), given)


def onward_headers(headers: Headers, found: Inbound | None) -> dict[str, str]:
    """What of a request's headers goes on, and what its body says again in headers."""
    passed = {name: headers[name] for name in _PASSED_ON if name in headers}
    if found is not None:
        passed["Content-Type"] = "application/json"
    if (version := headers.get(_VERSION)) is not None:
        passed["MCP-Protocol-Version"] = version
    if found is not None and found.is_modern:
        passed["Mcp-Method"] = found.method
        name = found.params.get(NAMED.get(found.method, ""))
        if isinstance(name, str):
            passed["Mcp-Name"] = encode_header_value(name)
    return passed
