"""Waiting for a job with a caller who sees it come, and who can be asked what the job asks.

Nothing here owns the job: a caller who goes away or cancels stops the waiting and no more.
"""

from uuid import UUID

import anyio

from app.surfaces.mcp.calls import Call, sentence
from app.surfaces.mcp.live.dialogues import Dialogue
from app.surfaces.mcp.live.logmessages import log_event
from app.surfaces.mcp.live.opening import dialogue_of
from app.surfaces.mcp.results import Result
from app.surfaces.operations import Operations


class Following:
    """Follows jobs to their end, with progress, log messages and questions on the way."""

    def __init__(self, operations: Operations) -> None:
        self._ops = operations

    def resumed(self, call: Call) -> UUID | None:
        """The job of the round before, if this request goes on with one."""
        return None if call.state is None else UUID(call.state["job"])

    async def to_end(self, call: Call, job_id: UUID, timeout_s: float) -> Result | None:
        """Return at the job's end, at the time-out, or once its owner does not want to answer.

        What is returned is None, or what the client must be asked before it calls again.
        """
        with anyio.move_on_after(timeout_s) as scope:
            dialogue = dialogue_of(self._ops.workflows.questions, call, job_id, scope.cancel)
            try:
                return await self._follow(call, job_id, dialogue)
            finally:
                dialogue.close()
        return None

    async def _follow(self, call: Call, job_id: UUID, dialogue: Dialogue) -> Result | None:
        if (interim := await dialogue.resume()) is not None or dialogue.is_refused:
            return interim
        async for event in self._ops.watch(call.principal, job_id, dialogue.after_seq):
            message = sentence(event)
            await call.progress(event, message)
            await log_event(call.context, event, message)
            if (interim := await dialogue.turn(event)) is not None:
                return interim
        return None
