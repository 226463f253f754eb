"""Tools that take their time, fail in each way there is, or stop to ask.

The suite of the tasks extension calls them. This server has no tasks of its own: it says with
`execution` which tools are slow, and whoever stands in front of it may make tasks of their calls.
"""

import asyncio

from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR

from tests.conformance.everything.asking import Context, ask, form, needed
from tests.conformance.everything.blocks import Wire, complete, said, text

_CONFIRM = {"type": "boolean"}
# The suite asks for a minute and cancels it at once; without tasks it would wait for all of it.
_LONGEST_S = 0.5


async def greet(_context: Context, arguments: Wire) -> Wire:
    return said(f"Hello, {arguments['name']}!")


async def compute(_context: Context, arguments: Wire) -> Wire:
    await asyncio.sleep(min(arguments["seconds"], _LONGEST_S))
    return said(str(arguments.get("label", "")), "was computed.")


async def fail(_context: Context, _arguments: Wire) -> Wire:
    return complete(text("The job failed, as it was made to."), is_error=True)


async def break_down(_context: Context, _arguments: Wire) -> Wire:
    raise MCPError(INTERNAL_ERROR, "The job broke down, as it was made to.")


async def confirm(context: Context, arguments: Wire) -> Wire:
    requests = {"confirm": form(f"Delete {arguments['filename']}?", confirm=_CONFIRM)}
    answers = await ask(context, requests)
    if answers is None:
        return needed(requests, "asked")
    is_sure = (answers["confirm"].get("content") or {}).get("confirm") is True
    return said(arguments["filename"], "was deleted." if is_sure else "was kept.")


async def ask_two(context: Context, _arguments: Wire) -> Wire:
    requests = {
        "first": form("What is the first name?", name={"type": "string"}),
        "second": form("Are you sure?", confirm=_CONFIRM),
    }
    answers = await ask(context, requests)
    if answers is None:
        return needed(requests, "asked")
    return said("Both were answered.")


async def ask_then_work(context: Context, _arguments: Wire) -> Wire:
    requests = {"user_name": form("What is your name?", name={"type": "string"})}
    answers = await ask(context, requests)
    if answers is None:
        return needed(requests, "asked")
    name = (answers["user_name"].get("content") or {}).get("name")
    return said(f"The work for {name} is done.")
