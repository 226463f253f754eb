"""Routes of limits: concurrency and rates of keys, users and tools, and their lines."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from app.surfaces.http.dependencies import PREFIX, Caller, Ops
from app.surfaces.limits import LimitIn, LimitOut, LimitQueueOut, LimitsOut
from app.surfaces.payloads import Text

router = APIRouter(prefix=PREFIX, tags=["limits"])
_Name = Annotated[
    Text,
    Path(
        min_length=1,
        max_length=300,
        description="`key:<key>` or `key:*`; for operators also `user:...` and `tool:...`.",
    ),
]
_After = Annotated[Text | None, Query(max_length=300, description="`next` of the page before.")]
_Limit = Annotated[int, Query(ge=1, le=200)]


@router.get("/limits")
async def list_limits(
    ops: Ops,
    caller: Caller,
    limit: _Limit = 50,
    after: _After = None,
    platform: Annotated[
        bool, Query(description="Those of users and tools instead (scope `admin`).")
    ] = False,
) -> LimitsOut:
    """The caller's key limits, by name: those set, and those that jobs count against now."""
    return await ops.limits.list(caller, limit, after, is_platform=platform)


@router.put("/limits/{name}")
async def set_limit(ops: Ops, caller: Caller, name: _Name, body: LimitIn) -> LimitOut:
    """Set a limit's numbers, in place of any it has. Jobs that now fit start; none is stopped."""
    return await ops.limits.put(caller, name, body)


@router.delete("/limits/{name}", status_code=204)
async def remove_limit(ops: Ops, caller: Caller, name: _Name) -> None:
    """Take a limit's numbers away: the default of its kind applies."""
    await ops.limits.remove(caller, name)


@router.get("/limits/{name}/queue")
async def show_limit_queue(
    ops: Ops, caller: Caller, name: _Name, limit: _Limit = 100, after: _After = None
) -> LimitQueueOut:
    """Who holds a limit and who waits for it, next first; of others' jobs only how many."""
    return await ops.limits.queue(caller, name, limit, after)
