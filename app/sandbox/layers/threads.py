"""Work on the disk in a thread, which is over when its caller goes on, however that comes about."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(work: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """As `asyncio.to_thread`, but who is cancelled waits for the end of it.

    A thread cannot be stopped: it would write on in a folder that is being removed, or is given
    to somebody else.
    """
    task = asyncio.create_task(asyncio.to_thread(work, *args, **named))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # seen, so that nothing complains of it
        raise
