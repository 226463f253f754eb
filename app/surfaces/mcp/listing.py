"""`tools/list` for clients of 2026-07-28, without checking every tool again for every list.

The SDK brings each list into the form of the client's protocol version, which for hundreds of
tools takes longer than all else. Here each definition is brought into that form once, as long as
the registry stands as it does; one that cannot be is left out, and no list fails for it.
"""

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson
from mcp.server.context import CallNext, HandlerResult
from mcp.server.lowlevel import Server
from mcp_types import SERVER_INFO_META_KEY, PaginatedRequestParams
from mcp_types.methods import serialize_server_result, validate_client_request
from mcp_types.version import LATEST_MODERN_VERSION
from pydantic import ValidationError

from app.registry import Snapshot
from app.surfaces.mcp.calls import Context
from app.surfaces.mcp.results import Handler

METHOD = "tools/list"
_log = logging.getLogger(__name__)


class Form(NamedTuple):
    """A definition in the form of 2026-07-28, and the same as JSON."""

    value: dict[str, Any]
    json: bytes


class WireForms:
    """Definitions in their wire form, by name; they hold for one state of the registry."""

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        self._forms: dict[str, Form | None] = {}

    def of(self, snapshot: Snapshot, name: str, show: Callable[[], dict[str, Any]]) -> Form | None:
        """The definition of that name as clients get it, or None if it is none."""
        if snapshot is not self._snapshot:
            self._snapshot, self._forms = snapshot, {}
        if name not in self._forms:
            self._forms[name] = _form(show())
        return self._forms[name]


def _form(shown: dict[str, Any]) -> Form | None:
    alone = {"tools": [shown], "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
    try:
        made = serialize_server_result(METHOD, LATEST_MODERN_VERSION, alone)
    except ValidationError:
        _log.warning(
            "a tool is not listed: its definition breaks MCP", extra={"tool": shown["name"]}
        )
        return None
    value: dict[str, Any] = made["tools"][0]
    return Form(value, orjson.dumps(value))


class Listing:
    """Middleware that answers such lists whole, as the SDK lets middleware do."""

    def __init__(self, server: Server[Any], handler: Handler) -> None:
        self._server = server
        self._handler = handler

    async def __call__(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        is_ours = ctx.method == METHOD and ctx.protocol_version == LATEST_MODERN_VERSION
        if not is_ours or ctx.request_id is None:
            return await call_next(ctx)
        validate_client_request(METHOD, LATEST_MODERN_VERSION, ctx.params)
        asked = PaginatedRequestParams.model_validate(ctx.params or {}, by_name=False)
        hint = self._server.cache_hints[METHOD]
        return {
            "ttlMs": hint.ttl_ms,
            "cacheScope": hint.scope,
            **await self._handler(ctx, asked),
            "_meta": {SERVER_INFO_META_KEY: self._server.server_info_stamp},
        }
