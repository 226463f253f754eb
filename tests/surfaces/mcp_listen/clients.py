"""The SDK's own client with what it can be told and asked."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import mcp_types as types
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.surfaces.test_mcp import Era
from tests.surfaces.world import Person


def noting(has_stream: asyncio.Event | None) -> dict[str, list[Any]]:
    """Hooks that set the event once the session's own stream is open.

    The client opens it when it likes, and what is told before is not heard.
    """

    async def note(response: httpx2.Response) -> None:
        if has_stream is not None and response.request.method == "GET" and response.is_success:
            has_stream.set()

    return {"response": [note]}


@asynccontextmanager
async def connected(
    url: str,
    who: Person,
    era: Era = "auto",
    *,
    has_stream: asyncio.Event | None = None,
    **callbacks: Any,
) -> AsyncIterator[Client]:
    """A client; `callbacks` are those of the SDK's client. For `has_stream` see `noting`."""
    hooks, headers = noting(has_stream), dict(who.headers)
    async with httpx2.AsyncClient(headers=headers, timeout=60, event_hooks=hooks) as http:
        transport = streamable_http_client(f"{url}/mcp", http_client=http)
        async with Client(transport, mode=era, **callbacks) as client:
            yield client


class Inbox:
    """Keeps notifications; for a client's `message_handler`."""

    def __init__(self) -> None:
        self.came: list[Any] = []

    async def __call__(self, message: Any) -> None:
        self.came.append(message)

    def has(self, kind: type[Any], uri: str | None = None) -> bool:
        return any(
            isinstance(one, kind) and (uri is None or str(one.params.uri) == uri)
            for one in self.came
        )


async def until(condition: Callable[[], Any], seconds: float = 20.0) -> None:
    """Wait for something that happens in another task or process."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def subscribe(client: Client, uri: str) -> None:
    """`resources/subscribe` of the handshake era; the SDK's own method warns of its age."""
    params = types.SubscribeRequestParams(uri=uri)
    await client.session.send_request(types.SubscribeRequest(params=params), types.EmptyResult)


async def unsubscribe(client: Client, uri: str) -> None:
    params = types.UnsubscribeRequestParams(uri=uri)
    await client.session.send_request(types.UnsubscribeRequest(params=params), types.EmptyResult)


async def set_level(client: Client, level: types.LoggingLevel) -> None:
    params = types.SetLevelRequestParams(level=level)
    await client.session.send_request(types.SetLevelRequest(params=params), types.EmptyResult)
