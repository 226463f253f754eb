"""Which way of asking fits a client."""

from collections.abc import Callable
from uuid import UUID

from app.surfaces.mcp.calls import Call
from app.surfaces.mcp.live.connections import is_modern
from app.surfaces.mcp.live.dialogues import BackChannel, Dialogue, RoundTrips
from app.surfaces.mcp.live.elicitation import can_be_asked
from app.surfaces.workflows.questions import Questions


def dialogue_of(
    questions: Questions, call: Call, job_id: UUID, stop: Callable[[], None]
) -> Dialogue:
    """The dialogue with a caller about a job; `stop` ends the waiting."""
    if not can_be_asked(call.context):
        return Dialogue(questions, call, job_id)
    if is_modern(call.context):
        return RoundTrips(questions, call, job_id)
    if call.context.session.can_send_request:
        return BackChannel(questions, call, job_id, stop)
    return Dialogue(questions, call, job_id)
