"""Cuts JSON-RPC messages into raw parts, and makes messages of raw parts, without reading them.

What lies inside `result`, `error` and `params` is passed on byte for byte: keys that nobody here
knows stay as they are.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

_NOTHING = msgspec.Raw()


class _Envelope(msgspec.Struct, gc=False):
    id: msgspec.Raw = _NOTHING
    method: str | None = None
    params: msgspec.Raw = _NOTHING
    result: msgspec.Raw = _NOTHING
    error: msgspec.Raw = _NOTHING


class _Meta(msgspec.Struct, gc=False, rename={"meta": "_meta"}):
    meta: msgspec.Raw = _NOTHING


class Parts(NamedTuple):
    """The raw parts of one message; what it does not have is empty."""

    id: bytes
    method: str | None
    params: bytes
    result: bytes
    error: bytes

    @property
    def is_answer(self) -> bool:
        """Whether it is a response, not a request or a notification."""
        return self.method is None


_envelopes = msgspec.json.Decoder(_Envelope)
_metas = msgspec.json.Decoder(_Meta)
_objects = msgspec.json.Decoder(dict[str, msgspec.Raw])


def cut(message: bytes) -> Parts:
    """The parts of one JSON-RPC message (JSON-RPC 2.0, sections 4 and 5).

    Raises ValueError for what is no JSON object in UTF-8, or is nested too deeply to be read.
    """
    try:
        message.decode()
        found = _envelopes.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)[:200]) from error
    return Parts(
        bytes(found.id),
        found.method,
        bytes(found.params),
        bytes(found.result),
        bytes(found.error),
    )


def meta_of(params: bytes) -> bytes:
    """The raw `_meta` of `params`, or nothing. Raises ValueError for what is no JSON object."""
    try:
        return bytes(_metas.decode(params).meta)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)[:200]) from error


def is_object(raw: bytes) -> bool:
    """Whether raw JSON, known to be well formed, is an object."""
    return raw.lstrip()[:1] == b"{"


def request(request_id: bytes, method: str, params: bytes) -> bytes:
    """A request of raw parts."""
    return b'{"jsonrpc":"2.0","id":%b,"method":%b,"params":%b}' % (
        request_id,
        msgspec.json.encode(method),
        params or b"{}",
    )


def notification(method: str, params: bytes = b"{}") -> bytes:
    """A notification of raw parts."""
    return b'{"jsonrpc":"2.0","method":%b,"params":%b}' % (msgspec.json.encode(method), params)


def result(request_id: bytes, body: bytes) -> bytes:
    """A successful response of raw parts."""
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (request_id, body)


def error(request_id: bytes, body: bytes) -> bytes:
    """A failed response of raw parts."""
    return b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (request_id or b"null", body)


def split(params: bytes) -> dict[str, bytes]:
    """The raw values of an object's keys; of a key given twice, the last. Raises ValueError."""
    try:
        found = _objects.decode(params or b"{}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as fault:
        raise ValueError(str(fault)[:200]) from fault
    return {key: bytes(value) for key, value in found.items()}


def join(values: Mapping[str, bytes]) -> bytes:
    """An object of raw values."""
    return b"{%b}" % b",".join(
        b"%b:%b" % (msgspec.json.encode(key), value) for key, value in values.items()
    )


def response(parts: Parts) -> bytes:
    """A response made anew of its parts."""
    return error(parts.id, parts.error) if parts.error else result(parts.id, parts.result or b"{}")
