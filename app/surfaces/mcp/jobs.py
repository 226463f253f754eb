"""`jobs.*`: tool calls as durable jobs, many at once."""

from typing import Any

from app.kernel.principal import Scope
from app.surfaces.batches import Batch
from app.surfaces.mcp.calls import Call
from app.surfaces.mcp.owntools import OwnTool
from app.surfaces.mcp.results import Result, answer
from app.surfaces.operations import Operations
from app.surfaces.views import BatchOut


class JobTools:
    """The handlers, over the operations both doors share."""

    def __init__(self, operations: Operations) -> None:
        self._ops = operations

    def tools(self) -> list[OwnTool[Any]]:
        """The tools of this family."""
        return [OwnTool("jobs.submit", _SUBMIT, Batch, BatchOut, Scope.JOBS, self.submit, False)]

    async def submit(self, call: Call, given: Batch) -> Result:
        """Queue a batch; refusals are results of their own jobs, not an error of the call."""
        return answer({"results": await self._ops.submit_batch(call.principal, given)})


_SUBMIT = (
    "Queue up to 1,000 tool calls as jobs that outlive this client. The price of each is held now,"
    " charged only if the tool answers, and given back otherwise. The results are in order: a job's"
    " id, or the error that refused that job and no other. Follow a job with"
    " bio_agent.stream_trace."
)
