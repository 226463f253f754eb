"""Recognises plain requests, as bytes: calls and lists of 2026-07-28, calls of older sessions.

What is recognised here is only what the SDK would let through to its handler; of everything else,
right or wrong, `read` says None, and the SDK answers it. So there is one place that knows how each
mistake is refused, and none where a mistake could slip past it.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
import orjson
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.inbound import decode_header_value
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    PROTOCOL_VERSION_META_KEY,
)
from mcp_types.methods import validate_client_request
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from app.kernel.loops import HEADER, MARK

METHOD = "tools/call"
LIST = "tools/list"
_METHODS = frozenset((METHOD.encode(), LIST.encode()))
_ASKABLE = frozenset({"elicitation", "sampling", "roots", "extensions"})
_ENVELOPE = {PROTOCOL_VERSION_META_KEY, CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY}
_VERSIONS = frozenset(version.encode() for version in MODERN_PROTOCOL_VERSIONS)
_KEPT = 1024
_LARGEST_META = 4096
_LONGEST_ID = 256
_SENTINEL = b"=?base64?"
_PARAM = b"mcp-param-"
# Longer numbers than 64 bits hold; orjson would make floats of them, the SDK does not.
_LONG_NUMBER = re.compile(rb"[0-9]{19}")
_WHOLE_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]{0,17})")
# At most once each: two readers of a doubled header could read different values.
_SINGLE = frozenset(
    (
        b"accept",
        b"authorization",
        b"content-length",
        b"content-type",
        b"host",
        b"mcp-method",
        b"mcp-name",
        b"mcp-protocol-version",
        b"mcp-session-id",
        b"uaol-names",
        b"x-request-id",
    )
)
# Browsers need headers of CORS in the answer.
_FOREIGN = frozenset((b"origin", b"content-encoding", b"expect", b"upgrade"))
_SESSION = b"mcp-session-id"
_VIA, _GATEWAY = HEADER.encode(), MARK.encode()


_NOTHING = msgspec.Raw()


class _Params(msgspec.Struct, gc=False, forbid_unknown_fields=True, rename={"meta": "_meta"}):
    name: str
    meta: msgspec.Raw
    arguments: msgspec.Raw = _NOTHING


class _Request(msgspec.Struct, gc=False):
    jsonrpc: str
    id: msgspec.Raw
    method: str
    params: _Params


class _ListParams(msgspec.Struct, gc=False, forbid_unknown_fields=True, rename={"meta": "_meta"}):
    meta: msgspec.Raw


class _ListRequest(msgspec.Struct, gc=False):
    jsonrpc: str
    id: msgspec.Raw
    method: str
    params: _ListParams


class _SessionRequest(msgspec.Struct, gc=False):
    jsonrpc: str
    method: str
    id: msgspec.Raw = _NOTHING
    params: msgspec.Raw = _NOTHING


class _CallParams(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    name: str
    arguments: msgspec.Raw = _NOTHING


class _CancelParams(msgspec.Struct, gc=False):
    request_id: msgspec.Raw = msgspec.field(name="requestId")


_requests = msgspec.json.Decoder(_Request)
_lists = msgspec.json.Decoder(_ListRequest)
_session_requests = msgspec.json.Decoder(_SessionRequest)
_call_params = msgspec.json.Decoder(_CallParams)
_cancel_params = msgspec.json.Decoder(_CancelParams)


class Asked(NamedTuple):
    """A call as it came: its id and arguments as raw JSON, the arguments also decoded."""

    id: bytes
    name: str
    raw: bytes
    arguments: dict[str, Any]
    has_param_headers: bool


class Frames:
    """Reads requests; remembers what it has found good, so that it is looked at once."""

    def __init__(self, security: TransportSecuritySettings) -> None:
        self._security = security
        self._hosts = _Known()
        self._accepts = _Known()
        self._metas = _Known()
        self._list_metas = _Known()

    def head(self, headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes] | None:
        """The headers of a request that may be such a call; its body is not needed for that."""
        found = self._headers(headers)
        if found is None or _SESSION in found:
            return None
        is_call = (
            found.get(b"mcp-method") in _METHODS and found.get(b"mcp-protocol-version") in _VERSIONS
        )
        return found if is_call else None

    def session_head(self, headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes] | None:
        """The headers of a request in a session that may be such a call."""
        found = self._headers(headers)
        if found is None or not found.keys().isdisjoint((b"mcp-method", b"mcp-name", _PARAM)):
            return None
        return found

    def _headers(self, headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes] | None:
        """The headers that matter; None for a request that the SDK has to look at."""
        found: dict[bytes, bytes] = {}
        for name, value in headers:
            if name in _SINGLE:
                if name in found:
                    return None
                found[name] = value
            elif name in _FOREIGN:
                return None
            elif name == _VIA and _GATEWAY in value:
                # It may have come from here; the gate looks.
                return None
            elif name.startswith(_PARAM):
                found[_PARAM] = value
        is_good = (
            found.get(b"content-type", b"").lower().startswith(b"application/json")
            and self._hosts.knows(found.get(b"host", b""), self._is_host)
            and self._accepts.knows(found.get(b"accept", b""), _takes_both)
        )
        return found if is_good else None

    def read(self, head: Mapping[bytes, bytes], body: bytes) -> Asked | None:
        """The call in a body whose headers agree with it."""
        try:
            found = _requests.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        params, request_id = found.params, bytes(found.id)
        meta = bytes(params.meta)
        is_plain = (
            found.jsonrpc == "2.0"
            and found.method == METHOD
            and _is_id(request_id)
            and _is_named(head.get(b"mcp-name"), params.name)
            and len(meta) <= _LARGEST_META
            and self._metas.knows(head[b"mcp-protocol-version"] + meta, _is_envelope)
        )
        if not is_plain:
            return None
        raw = bytes(params.arguments) or b"{}"
        arguments = _arguments(raw)
        if arguments is None:
            return None
        return Asked(request_id, params.name, raw, arguments, _PARAM in head)

    def read_in_session(self, body: bytes) -> Asked | bytes | None:
        """A call in a body of the handshake era, or the id of one that is to be cancelled."""
        try:
            found = _session_requests.decode(body)
            if found.method == "notifications/cancelled":
                return bytes(_cancel_params.decode(found.params).request_id)
            if found.method != METHOD or found.jsonrpc != "2.0":
                return None
            params = _call_params.decode(found.params)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        request_id, raw = bytes(found.id), bytes(params.arguments) or b"{}"
        arguments = _arguments(raw)
        if arguments is None or not _is_id(request_id):
            return None
        return Asked(request_id, params.name, raw, arguments, has_param_headers=False)

    def read_list(self, head: Mapping[bytes, bytes], body: bytes) -> bytes | None:
        """The id of a request for the first page of the tools, by their own names."""
        try:
            found = _lists.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        request_id, meta = bytes(found.id), bytes(found.params.meta)
        is_plain = (
            found.jsonrpc == "2.0"
            and found.method == LIST
            and _is_id(request_id)
            and head.keys().isdisjoint((b"mcp-name", b"uaol-names", _PARAM))
            and len(meta) <= _LARGEST_META
            and self._list_metas.knows(head[b"mcp-protocol-version"] + meta, _is_list_envelope)
        )
        return request_id if is_plain else None

    def _is_host(self, host: bytes) -> bool:
        text = host.decode("latin-1")
        allowed = self._security.allowed_hosts
        return text in allowed or any(
            one.endswith(":*") and text.startswith(one[:-1]) for one in allowed
        )


class _Known:
    """Values found good, the last used of them."""

    def __init__(self) -> None:
        self._values: OrderedDict[bytes, None] = OrderedDict()

    def knows(self, value: bytes, is_good: Callable[[bytes], bool]) -> bool:
        """Whether a value is good; asked of `is_good` only the first time."""
        if value in self._values:
            return True
        if not is_good(value):
            return False
        self._values[value] = None
        if len(self._values) > _KEPT:
            self._values.popitem(last=False)
        return True


def _takes_both(accept: bytes) -> bool:
    """Whether JSON and streams are accepted, as the transport demands."""
    kinds = {kind.strip().partition(b";")[0].strip().lower() for kind in accept.split(b",")}
    return b"*/*" in kinds or (
        not kinds.isdisjoint((b"application/json", b"application/*"))
        and not kinds.isdisjoint((b"text/event-stream", b"text/*"))
    )


def _is_id(raw: bytes) -> bool:
    is_text = raw[:1] == b'"' and raw.isascii() and len(raw) <= _LONGEST_ID
    return is_text or _WHOLE_NUMBER.fullmatch(raw) is not None


def _is_named(header: bytes | None, name: str) -> bool:
    if header is None:
        return False
    text = header.decode("latin-1")
    return (decode_header_value(text) if header.startswith(_SENTINEL) else text) == name


def _is_envelope(versioned: bytes) -> bool:
    """Whether a `_meta`, after the version of the header, is the plain envelope of a call.

    One whose client takes tasks or questions for answers is not.
    """
    meta = _envelope_of(METHOD, {"name": "x"}, versioned)
    # Servers may ask such clients something back, in the midst of a call.
    return meta is not None and not meta[CLIENT_CAPABILITIES_META_KEY].keys() & _ASKABLE


def _is_list_envelope(versioned: bytes) -> bool:
    """Whether a `_meta`, after the version of the header, is the plain envelope of a list."""
    return _envelope_of(LIST, {}, versioned) is not None


def _envelope_of(method: str, params: Mapping[str, Any], versioned: bytes) -> dict[str, Any] | None:
    """The `_meta` of a request; None for one that is wrong or asks for more, such as progress."""
    start = versioned.find(b"{")
    version = versioned[:start].decode("latin-1")
    try:
        meta: dict[str, Any] = orjson.loads(versioned[start:])
        if meta.get(PROTOCOL_VERSION_META_KEY) != version or not meta.keys() <= _ENVELOPE:
            return None
        validate_client_request(method, version, {**params, "_meta": meta})
    except (ValueError, KeyError, AttributeError, ValidationError):
        return None
    return meta


def _arguments(raw: bytes) -> dict[str, Any] | None:
    if _LONG_NUMBER.search(raw):
        return None
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None
