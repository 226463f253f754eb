"""`notifications/message`: a run's trace as a log, at the level the client wants.

A client of the 2026-07-28 era asks for a level with each request, one of earlier eras once for
its session (`logging/setLevel`). Messages ride the stream of the request they belong to.
"""

from collections.abc import Mapping
from typing import Final, get_args

import mcp_types as types
from mcp.server.connection import allowed_log_levels

from app.orchestration import JobEvent
from app.surfaces.mcp.calls import Context
from app.surfaces.mcp.live.connections import connection_of, is_modern

LEVEL_KEY = "uaol.log_level"
_LEVELS: Final[tuple[types.LoggingLevel, ...]] = get_args(types.LoggingLevel)
_UNASKED: types.LoggingLevel = "warning"
_LOGGER = "uaol.job"
_SEVERE: Mapping[str, types.LoggingLevel] = {
    "job.failed": "error",
    "job.dead": "error",
    "job.retrying": "warning",
    "job.cancelled": "warning",
    "tool.failed": "warning",
    "step.failed": "warning",
    "step.retrying": "warning",
    "check.failed": "warning",
}


def level_of(kind: str) -> types.LoggingLevel:
    """How much an event of a trace matters."""
    usual: types.LoggingLevel = "debug" if kind.startswith(("tool.", "step.")) else "info"
    return _SEVERE.get(kind, usual)


async def log_event(context: Context, event: JobEvent, message: str) -> None:
    """Send an event of a trace as a log message, if the caller wants messages of its level."""
    level = level_of(event.kind)
    if not _is_wanted(context, level):
        return
    data = {
        "job_id": str(event.job_id),
        "seq": event.seq,
        "kind": event.kind,
        "message": message,
    }
    params = types.LoggingMessageNotificationParams(level=level, logger=_LOGGER, data=data)
    await context.session.send_notification(
        types.LoggingMessageNotification(params=params), related_request_id=context.request_id
    )


def _is_wanted(context: Context, level: types.LoggingLevel) -> bool:
    if is_modern(context):
        return level in allowed_log_levels(context.protocol_version, context.meta)
    least = connection_of(context).state.get(LEVEL_KEY, _UNASKED)
    return _LEVELS.index(level) >= _LEVELS.index(least)
