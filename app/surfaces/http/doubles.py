"""Refuses requests about workflows in which a name stands twice, before anything is made of it."""

import asyncio
from typing import Annotated

from fastapi import Depends, Request

from app.orchestration import refuse_doubles

_LARGE = 64 * 1024


async def refuse_doubled_names(request: Request, within: str = "workflow") -> None:
    """Raise `invalid_input` with the mistake `duplicate_name`."""
    body = await request.body()
    if len(body) > _LARGE:
        await asyncio.to_thread(refuse_doubles, body, within)
    else:
        refuse_doubles(body, within)


async def _in_workflow(request: Request) -> None:
    await refuse_doubled_names(request)


async def _in_definition(request: Request) -> None:
    await refuse_doubled_names(request, "definition")


# After the caller in a route's parameters: who is not known gets no body read.
Unique = Annotated[None, Depends(_in_workflow)]
UniqueDefinition = Annotated[None, Depends(_in_definition)]
