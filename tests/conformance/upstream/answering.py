"""Answers `ask.py`: runs each scenario in this process and says how it ended."""

import asyncio
import json
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ASK = Path(__file__).with_name("ask.py")


@dataclass(frozen=True)
class Scenario:
    """One run of the client: against the server at `url`, at a version, with what it may know."""

    name: str
    url: str
    version: str
    context: dict[str, Any]


Run = Callable[[Scenario], Awaitable[None]]


@asynccontextmanager
async def answering(socket: Path, run: Run) -> AsyncIterator[str]:
    """Answer while the block runs; yields the command the suite is given."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = json.loads(await reader.readline())
        scenario = Scenario(asked["scenario"], asked["url"], asked["version"], asked["context"])
        writer.write(json.dumps(await _outcome(run, scenario)).encode() + b"\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(answer, socket)
    async with server:
        yield f"{sys.executable} -I -S {ASK} {socket}"


async def _outcome(run: Run, scenario: Scenario) -> dict[str, Any]:
    try:
        await run(scenario)
    # Whatever it is, the suite is to show it beside its own findings.
    except Exception:  # noqa: BLE001
        return {"code": 1, "said": traceback.format_exc()}
    return {"code": 0, "said": ""}
