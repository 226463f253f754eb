"""Real clients with a key list the tools and call dotted ones, in both eras."""

import asyncio
import json
from pathlib import Path
from typing import Any, Literal

import fastmcp
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.conformance.node.install import NODE
from tests.conformance.node.runtime import Finished, Node
from tests.conformance.platform import Platform

pytestmark = pytest.mark.anyio
INSPECTOR = "@modelcontextprotocol/inspector"
SCRIPT = Path(__file__).parent / "node" / "client.mjs"
OWN, REGISTERED, FAILING = (
    "billing.get_wallet",
    "everything.greet",
    "everything.test_error_handling",
)
GREETING = "Hello, Ada!"
ERAS = ("legacy", "auto", "modern")
OK, NEEDS_AUTH, UNREACHABLE, TOOL_ERROR = 0, 3, 4, 5


def _texts(content: list[dict[str, Any]]) -> list[str]:
    return [block["text"] for block in content if block["type"] == "text"]


@pytest.mark.parametrize("mode", ["auto", "legacy", "2026-07-28"])
async def test_the_python_sdk(platform: Platform, mode: Literal["auto", "legacy"]) -> None:
    async with (
        httpx2.AsyncClient(headers=platform.headers, timeout=30) as http,
        Client(streamable_http_client(platform.mcp, http_client=http), mode=mode) as client,
    ):
        names = {tool.name for tool in (await client.list_tools()).tools}
        greeted = await client.call_tool(REGISTERED, {"name": "Ada"})
        wallet = await client.call_tool(OWN, {})
    assert {OWN, REGISTERED} <= names
    assert greeted.content[0].text == GREETING
    assert wallet.structured_content["available_micro"] > 0


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_fastmcp(platform: Platform, mode: Literal["auto", "legacy"]) -> None:
    async with fastmcp.Client(platform.mcp, auth=platform.key, mode=mode) as client:
        names = {tool.name for tool in await client.list_tools()}
        greeted = await client.call_tool(REGISTERED, {"name": "Ada"})
        wallet = await client.call_tool(OWN, {})
    assert {OWN, REGISTERED} <= names
    assert greeted.content[0].text == GREETING
    assert wallet.structured_content["available_micro"] > 0


async def _typescript(node: Node, platform: Platform, era: str) -> dict[str, Any]:
    calls = json.dumps([[REGISTERED, {"name": "Ada"}], [OWN, {}]])
    # A module finds its packages beside itself, so it is run where they are.
    script = node.folder / f"client-{era}.mjs"
    script.write_text(SCRIPT.read_text())
    ended = await node.run(script, platform.mcp, platform.key, era, calls)
    assert ended.code == 0, ended
    return dict(json.loads(ended.out))


async def test_the_typescript_sdk(node: Node, platform: Platform) -> None:
    for seen in await asyncio.gather(*(_typescript(node, platform, era) for era in ERAS)):
        assert {OWN, REGISTERED} <= set(seen["names"])
        greeted, wallet = seen["results"]
        assert _texts(greeted["content"]) == [GREETING]
        assert wallet["structuredContent"]["available_micro"] > 0


async def _inspect(node: Node, url: str, era: str, *more: str, key: str = "") -> Finished:
    header = ("--header", f"Authorization: Bearer {key}") if key else ()
    return await node.run(
        node.program(INSPECTOR, "mcp-inspector"),
        "--cli",
        url,
        "--transport",
        "http",
        "--protocol-era",
        era,
        *header,
        "--format",
        "json",
        *more,
    )


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_the_inspector(node: Node, platform: Platform, era: str) -> None:
    call = ("--method", "tools/call", "--tool-name")
    listed, greeted, failed = await asyncio.gather(
        _inspect(node, platform.mcp, era, "--method", "tools/list", key=platform.key),
        _inspect(
            node, platform.mcp, era, *call, REGISTERED, "--tool-arg", "name=Ada", key=platform.key
        ),
        _inspect(node, platform.mcp, era, *call, FAILING, key=platform.key),
    )
    assert listed.code == OK, listed
    tools = json.loads(listed.out)["result"]["tools"]
    assert {OWN, REGISTERED} <= {tool["name"] for tool in tools}
    assert greeted.code == OK, greeted
    assert GREETING in greeted.out
    assert failed.code == TOOL_ERROR, failed


async def test_the_inspector_says_what_is_wrong(node: Node, platform: Platform) -> None:
    closed = "http://127.0.0.1:1/mcp"
    listing = ("--method", "tools/list")
    stranger, nobody = await asyncio.gather(
        _inspect(node, platform.mcp, "auto", *listing),
        _inspect(node, closed, "auto", *listing, key=platform.key),
    )
    assert stranger.code == NEEDS_AUTH, stranger
    assert nobody.code == UNREACHABLE, nobody


async def test_node_is_the_one_of_the_environment(node: Node) -> None:
    ended = await node.run("--version")
    major = int(ended.out.strip().removeprefix("v").partition(".")[0])
    assert major >= 22
    assert node.binary == NODE
