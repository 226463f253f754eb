"""What this platform does as a client in each scenario of the suite."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal
from uuid import uuid4

import httpx2
import mcp_types as types
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from app.kernel.principal import SERVICE, Principal
from app.proxy.carrying import param_headers
from app.proxy.definitions import definitions_of, list_all
from app.registry import ServerConfig, ToolDefinition
from tests.conformance.platform import Platform
from tests.conformance.upstream.answering import Scenario
from tests.conformance.upstream.visitor import Visitor

_AGREED = "accept"
_numbers = itertools.count()
_MRTR = ("echo_state", "unrelated", "no_state", "no_result_type")
Era = Literal["auto", "legacy"]
Act = Callable[[Visitor, Scenario], Awaitable[None]]


async def _definitions(visitor: Visitor) -> dict[str, ToolDefinition]:
    """The tools the platform takes of what the server lists, as its backends list them."""
    async with Client(streamable_http_client(visitor.url), cache=None) as client:
        listed = await list_all(client, "suite")
    found = definitions_of(ServerConfig(name="suite", url=visitor.url), listed)
    return {definition.name: definition for definition in found}


async def _call(visitor: Visitor, tool: ToolDefinition, arguments: dict[str, Any]) -> None:
    params = {"name": tool.name, "arguments": arguments}
    headers = param_headers(tool, arguments)
    await visitor.request("tools/call", params, tool.name, headers)


async def _look(visitor: Visitor, _scenario: Scenario) -> None:
    await visitor.request("tools/list")


async def _sign_in(visitor: Visitor, _scenario: Scenario) -> None:
    for tool in (await visitor.request("tools/list"))["tools"]:
        await visitor.request("tools/call", {"name": tool["name"], "arguments": {}}, tool["name"])


async def _add(visitor: Visitor, _scenario: Scenario) -> None:
    tools = await _definitions(visitor)
    await _call(visitor, tools["add_numbers"], {"a": 5, "b": 3})


async def _call_all(visitor: Visitor, _scenario: Scenario) -> None:
    for tool in (await _definitions(visitor)).values():
        await _call(visitor, tool, {})


async def _headers(visitor: Visitor, scenario: Scenario) -> None:
    await _call_all(visitor, scenario)
    for resource in (await visitor.request("resources/list"))["resources"]:
        uri = resource["uri"]
        await visitor.request("resources/read", {"uri": uri}, uri)
    for prompt in (await visitor.request("prompts/list"))["prompts"]:
        await visitor.request("prompts/get", {"name": prompt["name"]}, prompt["name"])


async def _as_told(visitor: Visitor, scenario: Scenario) -> None:
    tools = await _definitions(visitor)
    for call in scenario.context["toolCalls"]:
        await _call(visitor, tools[call["name"]], call["arguments"])


async def _usable(visitor: Visitor, _scenario: Scenario) -> None:
    for tool in (await _definitions(visitor)).values():
        await _call(visitor, tool, {"region": "us-west1"})


ACTS: dict[str, Act] = {
    "initialize": _look,
    "request-metadata": _look,
    "json-schema-ref-no-deref": _look,
    "tools_call": _add,
    "http-standard-headers": _headers,
    "http-custom-headers": _as_told,
    "http-invalid-tool-headers": _usable,
}


async def _agree(_context: Any, params: Any) -> types.ElicitResult:
    """What a person's client answers to a form: its defaults, and yes."""
    fields = params.requested_schema.get("properties", {})
    filled = {name: one.get("default", True) for name, one in fields.items()}
    return types.ElicitResult(action=_AGREED, content=filled)


class Scenarios:
    """Runs the suite's scenarios, each with a server name of its own."""

    def __init__(self, platform: Platform, principal: Principal) -> None:
        self._platform = platform
        self._principal = principal

    async def run(self, scenario: Scenario) -> None:
        """Do what the scenario is about; raises what goes wrong."""
        slug = f"suite{next(_numbers)}"
        if (calls := THROUGH.get(scenario.name)) is not None:
            await self._through(slug, scenario, *calls)
            return
        visitor = Visitor(self._platform.services, self._principal, slug, scenario)
        is_auth = scenario.name.startswith("auth/")
        try:
            await (_sign_in if is_auth else ACTS[scenario.name])(visitor, scenario)
        finally:
            await visitor.close()

    async def _through(
        self, slug: str, scenario: Scenario, era: Era, tools: tuple[str, ...]
    ) -> None:
        """What the end of the line has to answer itself, passed through the platform."""
        url = f"{self._platform.mcp}/servers/{slug}"
        async with (
            self._configured(ServerConfig(name=slug, url=scenario.url, is_trusted=True)),
            httpx2.AsyncClient(headers=self._platform.headers, timeout=30) as http,
            Client(
                streamable_http_client(url, http_client=http),
                mode=era,
                elicitation_callback=_agree,
            ) as client,
        ):
            await client.list_tools()
            for tool in tools:
                await client.call_tool(tool, {})

    @asynccontextmanager
    async def _configured(self, server: ServerConfig) -> AsyncIterator[None]:
        """The server as if it had been in the configuration when the platform started."""
        proxy = self._platform.services.proxy
        backend = proxy._connect(server)
        proxy._fleet._fixed |= {server.name}
        proxy._backends[server.name] = backend
        await backend.start()
        try:
            yield
        finally:
            del proxy._backends[server.name]
            await backend.close()


# Scenarios about what happens in the midst of a call: the client's era, the tools it calls.
THROUGH: dict[str, tuple[Era, tuple[str, ...]]] = {
    "elicitation-sep1034-client-defaults": ("legacy", ("test_client_elicitation_defaults",)),
    "sse-retry": ("legacy", ("test_reconnection",)),
    "sep-2322-client-request-state": ("auto", tuple(f"test_mrtr_{name}" for name in _MRTR)),
}


async def make_scenarios(platform: Platform) -> Scenarios:
    """The scenarios, for a user of their own."""
    services = platform.services
    async with services.database.begin(SERVICE) as uow:
        user = await services.auth.ensure_user(uow, f"{uuid4().hex}@example.org")
    return Scenarios(platform, Principal("user", user.user_id))
