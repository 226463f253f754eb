"""Real clients over each transport, and frames of a client that keeps no rules."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal
from urllib.parse import urlsplit

import anyio
import httpx2
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from app.sdk import websocket_client

Era = Literal["auto", "legacy"]
ACCEPT = {"accept": "application/json, text/event-stream"}
MODERN = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
}


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def socket_url(url: str) -> str:
    return url.replace("http", "ws", 1) + "/ws"


@asynccontextmanager
async def by_http(url: str, headers: Mapping[str, str], era: Era = "auto") -> AsyncIterator[Client]:
    async with httpx2.AsyncClient(headers=dict(headers), timeout=60) as http:
        transport = streamable_http_client(f"{url}/mcp", http_client=http)
        async with Client(transport, mode=era) as client:
            yield client


@asynccontextmanager
async def by_socket(
    url: str,
    headers: Mapping[str, str] | None = None,
    era: Era = "auto",
    *,
    ticket: str | None = None,
    **callbacks: Any,
) -> AsyncIterator[Client]:
    transport = websocket_client(socket_url(url), headers, ticket=ticket, open_timeout=60)
    async with Client(transport, mode=era, **callbacks) as client:
        yield client


@asynccontextmanager
async def by_sse(url: str, headers: Mapping[str, str], **callbacks: Any) -> AsyncIterator[Client]:
    transport = sse_client(f"{url}/sse", headers=dict(headers), timeout=60)
    is_leaving = False
    try:
        async with Client(transport, mode="legacy", **callbacks) as client:
            yield client
            is_leaving = True
    except* anyio.BrokenResourceError:
        # the SDK's way to say that a message came while it left
        if not is_leaving:
            raise


@asynccontextmanager
async def raw_socket(
    url: str,
    headers: Mapping[str, str] | None = None,
    *,
    offered: tuple[str, ...] = ("mcp",),
    origin: str | None = None,
    host: str = "",
    query: str = "",
) -> AsyncIterator[ClientConnection]:
    address = urlsplit(socket_url(url) + query)
    async with connect(
        address._replace(netloc=host or address.netloc).geturl(),
        host=address.hostname,
        port=address.port,
        subprotocols=[Subprotocol(each) for each in offered] or None,
        additional_headers=dict(headers or {}),
        origin=None if origin is None else Origin(origin),
        max_size=2**24,
        open_timeout=60,
    ) as socket:
        yield socket


async def tell(socket: ClientConnection, message: object) -> None:
    await socket.send(message if isinstance(message, str | bytes) else json.dumps(message))


async def ask(socket: ClientConnection, message: object) -> dict[str, Any]:
    """The next message after this one was sent."""
    await tell(socket, message)
    return dict(json.loads(await socket.recv()))


def request(number: object, method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def modern(number: object, method: str, **params: Any) -> dict[str, Any]:
    return request(number, method, _meta=MODERN, **params)


def initialize(version: str = "2025-06-18") -> dict[str, Any]:
    client = {"name": "t", "version": "0"}
    return request(0, "initialize", protocolVersion=version, capabilities={}, clientInfo=client)
