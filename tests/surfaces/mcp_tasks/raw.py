"""Requests of 2026-07-28 over plain HTTP: what the SDK's client does not know or would not send."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import httpx2

from tests.surfaces.world import Person

VERSION = "2026-07-28"
TASKS = "io.modelcontextprotocol/tasks"
UI = "io.modelcontextprotocol/ui"
FORMS: dict[str, Any] = {"elicitation": {"form": {}}}
KNOWS_TASKS: dict[str, Any] = {"extensions": {TASKS: {}}}
_NAMES = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}


class Raw:
    """A client of one user with the capabilities it declares."""

    def __init__(self, http: httpx2.AsyncClient, capabilities: Mapping[str, Any]) -> None:
        self.http = http
        self.capabilities = dict(capabilities)
        self._ids = count(1)

    async def post(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        headers: Mapping[str, str | None] | None = None,
        path: str = "/mcp",
    ) -> httpx2.Response:
        """One request; a header that is None is left out."""
        asked = dict(params or {})
        meta = {
            "io.modelcontextprotocol/protocolVersion": VERSION,
            "io.modelcontextprotocol/clientCapabilities": self.capabilities,
        } | asked.pop("_meta", {})
        key = "taskId" if method.startswith("tasks/") else _NAMES.get(method, "")
        sent: dict[str, str | None] = {
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": VERSION,
            "mcp-method": method,
            "mcp-name": asked.get(key),
        } | dict(headers or {})
        body = {
            "jsonrpc": "2.0",
            "id": next(self._ids),
            "method": method,
            "params": {**asked, "_meta": meta},
        }
        kept = {name: value for name, value in sent.items() if value is not None}
        return await self.http.post(path, json=body, headers=kept)

    async def result(self, method: str, /, path: str = "/mcp", **params: Any) -> dict[str, Any]:
        """The result of a request that succeeds."""
        response = await self.post(method, params, path=path)
        body = response.json()
        assert response.status_code == 200, body
        assert "result" in body, body
        return dict(body["result"])

    async def error(self, method: str, /, **params: Any) -> dict[str, Any]:
        """The JSON-RPC error of a request that is refused."""
        body = (await self.post(method, params)).json()
        assert "error" in body, body
        return dict(body["error"])

    async def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """The result of a tool's call, whatever its type."""
        return await self.result("tools/call", name=tool, arguments=arguments)

    async def until(self, task_id: str, *states: str) -> dict[str, Any]:
        """Poll a task until it is in one of the states."""
        async with asyncio.timeout(30):
            while (task := await self.result("tasks/get", taskId=task_id))["status"] not in states:
                pass
        return task


@asynccontextmanager
async def raw(url: str, who: Person, **capabilities: Any) -> AsyncIterator[Raw]:
    """A raw client of a person."""
    async with httpx2.AsyncClient(base_url=url, headers=dict(who.headers), timeout=60) as http:
        yield Raw(http, capabilities)
