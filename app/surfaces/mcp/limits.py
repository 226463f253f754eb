"""`jobs.limits` and its relatives: limits of the caller's keys, and who waits behind them."""

from typing import Annotated, Any

from pydantic import Field

from app.kernel.principal import Scope
from app.surfaces.limits import LimitIn, LimitName, LimitOut, LimitQueueOut, LimitsOut
from app.surfaces.mcp.calls import Call
from app.surfaces.mcp.owntools import OwnTool
from app.surfaces.operations import Operations
from app.surfaces.payloads import Payload, Text
from app.surfaces.views import View

_After = Annotated[Text | None, Field(max_length=300, description="`next` of the page before.")]


class Listed(Payload):
    """Which limits to show."""

    limit: Annotated[int, Field(ge=1, le=200)] = 50
    after: _After = None
    platform: Annotated[
        bool, Field(description="Those of users and tools instead (scope `admin`).")
    ] = False


class SetLimit(LimitIn):
    """A limit and its numbers."""

    name: LimitName


class OneLimit(Payload):
    """A limit."""

    name: LimitName


class Line(OneLimit):
    """A limit and a page of its line."""

    limit: Annotated[int, Field(ge=1, le=200)] = 100
    after: _After = None


class Removed(View):
    """The limit whose numbers are gone."""

    name: str


class LimitTools:
    """The handlers, over the operations both doors share."""

    def __init__(self, operations: Operations) -> None:
        self._ops = operations

    def tools(self) -> list[OwnTool[Any]]:
        """The tools of this family."""
        jobs = Scope.JOBS
        return [
            OwnTool("jobs.limits", _LIST, Listed, LimitsOut, jobs, self.list),
            OwnTool("jobs.set_limit", _SET, SetLimit, LimitOut, jobs, self.put, False),
            OwnTool("jobs.remove_limit", _REMOVE, OneLimit, Removed, jobs, self.remove, False),
            OwnTool("jobs.limit_queue", _QUEUE, Line, LimitQueueOut, jobs, self.queue),
        ]

    async def list(self, call: Call, given: Listed) -> LimitsOut:
        """A page of limits."""
        return await self._ops.limits.list(
            call.principal, given.limit, given.after, is_platform=given.platform
        )

    async def put(self, call: Call, given: SetLimit) -> LimitOut:
        """Set a limit's numbers."""
        return await self._ops.limits.put(call.principal, given.name, given)

    async def remove(self, call: Call, given: OneLimit) -> Removed:
        """Take a limit's numbers away."""
        await self._ops.limits.remove(call.principal, given.name)
        return Removed(name=given.name)

    async def queue(self, call: Call, given: Line) -> LimitQueueOut:
        """Who holds a limit and who waits."""
        return await self._ops.limits.queue(call.principal, given.name, given.limit, given.after)


_LIST = (
    "The caller's limits on jobs of one key: how many run at once, how many start a minute, how"
    " many hold it and wait for it now."
)
_SET = (
    "Set how many jobs of a key (`key:<key>`, or `key:*` for all of yours) run at once and start a"
    " minute, or pause it. Without numbers a key lets one job run at a time. Jobs that run go on."
)
_REMOVE = "Take a limit's numbers away; the default of its kind applies."
_QUEUE = "Which jobs hold a limit, and which wait for it in which position."
