"""Calls of 2026-07-28: one POST each, no handshake, no session; its headers repeat the body."""

import base64
import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import count

import msgspec

from app import __version__
from app.proxy.faults import protocol_error
from app.proxy.wire.answers import JSON, STREAM, read_answer
from app.proxy.wire.envelope import join, meta_of, request, split
from app.proxy.wire.pool import Pool
from app.proxy.wire.types import Answer, OnMessage, Target

VERSION = "2026-07-28"
ACCEPT = f"{JSON}, {STREAM}"
_OWN_META = {
    key: msgspec.json.encode(value)
    for key, value in {
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientCapabilities": {},
        "io.modelcontextprotocol/clientInfo": {"name": "uaol", "version": __version__},
    }.items()
}
_MARK = b"io.modelcontextprotocol/protocolVersion"
_PLAIN = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_CODED = re.compile(r"=\?base64\?.*\?=")
_LONGEST_KEPT = 256
# What changes something at the server is sent once.
_CALLS = frozenset({"tools/call"})
_ids = count(1)


def next_id() -> bytes:
    """An id no other request of this process has, as JSON."""
    return b"%d" % next(_ids)


def is_repeatable(method: str) -> bool:
    """Whether a request of this method may be sent again after a connection broke."""
    return method not in _CALLS


def header_value(text: str) -> str:
    """A header's value that carries any text (2026-07-28, Streamable HTTP, header encoding)."""
    if _PLAIN.fullmatch(text) and not _CODED.fullmatch(text):
        return text
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


def with_meta(params: bytes) -> bytes:
    """`params` with the `_meta` that every request of this revision has; what they say stays.

    Raises ValueError for what is no JSON object.
    """
    if _MARK in meta_of(params):
        return params
    values = split(params)
    values["_meta"] = join(_OWN_META | split(values.get("_meta", b"{}")))
    return join(values)


def routing(method: str, name: str | None) -> Mapping[str, str]:
    """The headers that repeat the body."""
    is_short = len(method) + len(name or "") <= _LONGEST_KEPT
    return _kept_routing(method, name) if is_short else _routing(method, name)


def _routing(method: str, name: str | None) -> Mapping[str, str]:
    headers = {
        "Content-Type": JSON,
        "Accept": ACCEPT,
        "MCP-Protocol-Version": VERSION,
        "Mcp-Method": method,
    }
    if name is not None:
        headers["Mcp-Name"] = header_value(name)
    return headers


_kept_routing = lru_cache(maxsize=4096)(_routing)


async def call_modern(
    pool: Pool,
    target: Target,
    method: str,
    params: bytes,
    *,
    name: str | None,
    headers: Mapping[str, str],
    on_message: OnMessage | None = None,
) -> Answer:
    """Send one request and read its answer. Raises as `read_answer` and `Pool.send` do."""
    try:
        whole = with_meta(params)
    except ValueError as error:
        raise protocol_error(target.name, "was to be sent params that are no object") from error
    request_id = next_id()
    async with pool.send(
        target,
        "POST",
        {**headers, **routing(method, name)},
        request(request_id, method, whole),
        is_repeatable=is_repeatable(method),
    ) as response:
        return await read_answer(response, target, request_id, on_message)
