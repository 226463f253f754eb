"""The sequence and crispr servers over stdio, as a real client sees them."""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.shared.exceptions import MCPError

from biotools import samples

pytestmark = pytest.mark.anyio
HBB = str(samples.HBB_REGION)
ROOT = str(Path(samples.__file__).parents[2])
TOY = """
import threading
from pydantic import BaseModel
from biotools.cancel import CallCancelledError, check_cancelled
from biotools.serve import serve

class Answer(BaseModel):
    stopped: bool

class Begun(BaseModel):
    begun: bool

begun = threading.Event()
ended = threading.Event()

def spin() -> Answer:
    begun.set()
    try:
        while True:
            check_cancelled()
    except CallCancelledError:
        ended.set()
        raise

def wait_for_begin() -> Begun:
    return Begun(begun=begun.wait(20))

def wait_for_end() -> Answer:
    return Answer(stopped=ended.wait(20))

def crash() -> Answer:
    raise RuntimeError("secret path")

serve("toy", [spin, wait_for_begin, wait_for_end, crash])
"""


@asynccontextmanager
async def session(*arguments: str) -> AsyncIterator[ClientSession]:
    parameters = StdioServerParameters(
        command=sys.executable, args=list(arguments), env={"PYTHONPATH": ROOT}
    )
    async with (
        stdio_client(parameters) as (reader, writer),
        ClientSession(reader, writer) as client,
    ):
        await client.initialize()
        yield client


async def ask(client: ClientSession, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Call a tool; the text must say what the structured content says."""
    result = await client.call_tool(tool, arguments)
    assert isinstance(result.structured_content, dict)
    text = result.content[0].text  # type: ignore[union-attr]
    if result.is_error:
        assert result.structured_content["message"] in text
    else:
        assert json.loads(text) == result.structured_content
    return {"error": result.is_error, **result.structured_content}


@pytest.mark.parametrize(
    ("field", "tools"),
    [
        (
            "sequence",
            {"parse_record", "gc_content", "translate", "find_orfs", "protein_properties"},
        ),
        (
            "crispr",
            {
                "enumerate_guides",
                "score_on_target",
                "find_off_targets",
                "draw_map",
                "predict_frameshift",
                "hdr_template",
            },
        ),
    ],
)
async def test_tools_are_described(field: str, tools: set[str]) -> None:
    async with session("-m", f"biotools.{field}") as client:
        listed = (await client.list_tools()).tools
    assert {tool.name for tool in listed} == tools
    for tool in listed:
        assert tool.description
        assert tool.input_schema["additionalProperties"] is False
        assert tool.output_schema is not None
        assert tool.output_schema["type"] == "object"
        if given := tool.input_schema["properties"].get("file"):
            assert "file" in {one.get("format") for one in (given, *given.get("anyOf", []))}


async def test_sequence_answers_and_errors(tmp_path: Path) -> None:
    empty = tmp_path / "empty.gb"
    empty.touch()

    async with session("-m", "biotools.sequence") as client:
        parsed = await ask(client, "parse_record", {"file": HBB, "gene": "HBB"})
        assert parsed["target"]["cds_length"] == 444
        failed = await ask(client, "parse_record", {"file": str(empty)})
        assert (failed["error"], failed["code"]) == (True, "empty_file")
        assert failed["hint"]
        for wrong in ({"file": HBB, "colour": 1}, {"file": 3}, {}):
            refused = await ask(client, "parse_record", wrong)
            assert (refused["error"], refused["code"]) == (True, "invalid_argument")
        with pytest.raises(MCPError):
            await client.call_tool("no_such_tool", {})


async def test_crispr_walk() -> None:
    async with session("-m", "biotools.crispr") as client:
        found = await ask(client, "enumerate_guides", {"file": HBB, "gene": "HBB"})
        spacers = [guide["spacer"] for guide in found["guides"]]
        assert len(spacers) == 81
        off = await ask(client, "find_off_targets", {"spacers": spacers, "genomes": [HBB]})
        assert [guide["spacer"] for guide in off["guides"]] == spacers
        bad = await ask(client, "find_off_targets", {"spacers": ["ACGT"], "genomes": [HBB]})
        assert bad["code"] == "invalid_argument"


async def test_cancel_frees_the_server_and_stops_the_thread(tmp_path: Path) -> None:
    script = tmp_path / "toy.py"
    script.write_text(TOY)

    async with session(str(script)) as client:
        async with anyio.create_task_group() as group:
            group.start_soon(client.call_tool, "spin", {})
            # A call cancelled before its thread has it never runs: nothing would stop.
            assert (await ask(client, "wait_for_begin", {}))["begun"] is True
            await client.send_ping()
            group.cancel_scope.cancel()
        assert (await ask(client, "wait_for_end", {}))["stopped"] is True


async def test_a_crash_tells_nothing_and_ends_nothing(tmp_path: Path) -> None:
    script = tmp_path / "toy.py"
    script.write_text(TOY)

    async with session(str(script)) as client:
        result = await client.call_tool("crash", {})
        assert result.is_error
        assert "secret" not in str(result)
        await client.send_ping()
