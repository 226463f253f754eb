"""Tasks of a server's own: what they give would be fetched unpaid, so nobody is told of them."""

import json
from typing import Any

import pytest

from app.surfaces.mcp.passthrough.untasked import greeting
from tests.surfaces.mcp_passthrough.conftest import PRICE, Open, config
from tests.surfaces.mcp_passthrough.test_borders import CALL, HELLO, META, http, legacy, modern
from tests.surfaces.mcp_passthrough.upstream import Everything

pytestmark = pytest.mark.anyio
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
TASKS, OTHER = "io.modelcontextprotocol/tasks", "io.modelcontextprotocol/ui"


async def test_in_a_session(opened: Open) -> None:
    server = Everything(eras="legacy")
    async with server.serving(), opened(config(server)) as door, http(door) as client:
        session = (await client.post("all", **legacy("initialize", HELLO))).headers
        named = session["mcp-session-id"]
        asked = await client.post("all", **legacy("tools/call", CALL | {"task": {}}, named))
        assert (asked.status_code, "echo" in asked.text) == (200, True)
        before = len(server.requests)
        for method in ("tasks/list", "tasks/get", "tasks/result"):
            answer = await client.post("all", **legacy(method, {"taskId": "1"}, named))
            # A 404 would say that the session is gone.
            assert (answer.status_code, answer.json()["error"]["code"]) == (200, -32601)
        assert len(server.requests) == before
        assert await door.spent() == (PRICE, 0)
    (call,) = server.calls
    assert "task" not in call["params"]


@pytest.mark.parametrize("slug", ["all", "../../mcp"])
async def test_without_one(opened: Open, slug: str) -> None:
    """By itself, and at the common door, where a task is a job."""
    server = Everything(eras="modern")
    told = META | {CAPABILITIES: {"extensions": {TASKS: {}, OTHER: {}}}}
    name = "echo" if slug == "all" else "all.echo"
    async with server.serving(), opened(config(server)) as door, http(door) as client:
        sent = modern("tools/call", CALL | {"name": name, "_meta": told})
        answer = await client.post(slug, **sent)
        assert answer.json()["result"]["structuredContent"] == {"n": 1}, answer.text
        if slug == "all":
            got = await client.post(slug, **modern("tasks/get", {"taskId": "1", "_meta": told}))
            assert (got.status_code, got.json()["error"]["code"]) == (404, -32601)
        assert await door.spent() == (PRICE, 0)
    (call,) = server.calls
    assert call["params"]["_meta"][CAPABILITIES]["extensions"] == {OTHER: {}}


def test_what_a_server_says_of_itself() -> None:
    capabilities: dict[str, Any] = {"tools": {}, "tasks": {}, "extensions": {TASKS: {}, OTHER: {}}}
    said = {"jsonrpc": "2.0", "id": 1, "result": {"capabilities": capabilities, "kept": 1}}
    shown = json.loads(greeting(json.dumps(said).encode()))["result"]
    assert shown == {"capabilities": {"tools": {}, "extensions": {OTHER: {}}}, "kept": 1}
    assert greeting(b'{"error": {}}') == b'{"error": {}}'
