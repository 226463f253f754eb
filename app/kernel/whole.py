"""Work that a stop does not cut short."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


async def whole(work: Coroutine[Any, Any, _T]) -> _T:
    """Run `work` to its end even if the caller is cancelled meanwhile; the cancel comes after.

    For transactions whose outcome lives in memory, as leases or ends would be lost with them; and
    for threads, which nothing can stop: one would write on in what others take for their own.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.info("work failed as it was stopped", extra={"reason": str(error)})
        raise
