"""Progress of a proxied call, passed on to the caller who gave a token for it."""

from collections.abc import Mapping
from typing import Any

from mcp.server.context import CallNext, HandlerResult

from app.proxy import telling_to
from app.surfaces.mcp.calls import Context


class _Rising:
    """Passes progress on as long as it grows, as the specification wants it to."""

    def __init__(self, context: Context) -> None:
        self._session = context.session
        self._last: float | None = None

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        if self._last is None or progress > self._last:
            self._last = progress
            await self._session.report_progress(progress, total, message)


async def relay_progress(ctx: Context, call_next: CallNext) -> HandlerResult:
    """Middleware: while a tool runs for somebody who wants progress, let the proxy tell it."""
    if ctx.method != "tools/call" or not _has_token(ctx.params):
        return await call_next(ctx)
    with telling_to(_Rising(ctx)):
        return await call_next(ctx)


def _has_token(params: Mapping[str, Any] | None) -> bool:
    meta = (params or {}).get("_meta")
    return isinstance(meta, Mapping) and meta.get("progressToken") is not None
