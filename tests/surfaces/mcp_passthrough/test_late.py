"""Answers fetched on a stream that goes on after its own broke off: paid for once, anywhere."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from tests.books import assert_balanced
from tests.surfaces.mcp_passthrough.conftest import PRICE, Door, Open, config
from tests.surfaces.mcp_passthrough.test_borders import HELLO, http, legacy
from tests.surfaces.mcp_passthrough.upstream import Everything
from tests.surfaces.world import Person, person

pytestmark = pytest.mark.anyio
# The first version whose streams begin with an id.
VERSION = "2025-11-25"
WAIT = {"name": "wait", "arguments": {}}


@asynccontextmanager
async def session(client: httpx2.AsyncClient) -> AsyncIterator[dict[str, str]]:
    opening = await client.post("all", **legacy("initialize", HELLO | {"protocolVersion": VERSION}))
    named = {"mcp-session-id": opening.headers["mcp-session-id"], "mcp-protocol-version": VERSION}
    ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    accept = {"accept": "application/json, text/event-stream"}
    assert (await client.post("all", json=ready, headers=accept | named)).status_code == 202
    yield accept | named


async def first_id(
    client: httpx2.AsyncClient, named: dict[str, str], method: str, params: dict[str, Any]
) -> str:
    """The id of the first event of a request's stream, which is left then."""
    sent = legacy(method, params)
    headers = sent["headers"] | named
    async with client.stream("POST", "all", content=sent["content"], headers=headers) as stream:
        async for line in stream.aiter_lines():
            if line.startswith("id:"):
                return line.removeprefix("id:").strip()
    raise AssertionError("the stream had no id")


async def late(client: httpx2.AsyncClient, named: dict[str, str], last: str) -> dict[str, Any]:
    """The first message after the event of that id."""
    headers = named | {"last-event-id": last}
    async with client.stream("GET", "all", headers=headers) as stream:
        assert stream.status_code == 200, await stream.aread()
        async for line in stream.aiter_lines():
            text = line.removeprefix("data:").strip()
            if line.startswith("data:") and text:
                found: dict[str, Any] = json.loads(text)
                return found
    raise AssertionError("the stream had no message")


async def left(
    server: Everything,
    door: Door,
    client: httpx2.AsyncClient,
    named: dict[str, str],
    who: Person | None = None,
) -> str:
    """Leave a call under way; the id to go on from. Nothing is held for it any more."""
    last = await first_id(client, named, "tools/call", WAIT)
    async with asyncio.timeout(60):
        await server.waiting.wait()
    await door.settled(0, who)
    return last


async def test_a_late_answer_is_paid_for_once_in_whatever_process(opened: Open) -> None:
    server = Everything(eras="legacy", keeps_events=True)
    async with server.serving(), opened(config(server)) as here, opened(config(server)) as there:
        async with http(here) as client, http(there) as other, session(client) as named:
            last = await left(server, here, client, named)
            server.released.set()
            answer = await late(other, named, last)
            assert answer["result"]["content"][0]["text"] == "wait {}"
            assert await there.spent() == (PRICE, 0)
            for again in (other, client):
                assert await late(again, named, last) == answer
        assert len(server.calls) == 1
        assert await here.spent() == (PRICE, 0)
        await assert_balanced(here.services.database)


async def test_an_answer_that_came_is_not_paid_for_again(opened: Open) -> None:
    server = Everything(eras="legacy", keeps_events=True)
    server.released.set()
    async with server.serving(), opened(config(server)) as door:
        async with http(door) as client, session(client) as named:
            sent = legacy("tools/call", WAIT)
            answer = await client.post(
                "all", content=sent["content"], headers=sent["headers"] | named
            )
            assert await door.spent() == (PRICE, 0)
            last = answer.text.split("id: ")[1].split()[0]
            assert "result" in await late(client, named, last)
        assert await door.spent() == (PRICE, 0)


async def test_who_cannot_pay_does_not_get_it(opened: Open) -> None:
    server = Everything(eras="legacy", keeps_events=True)
    async with server.serving(), opened(config(server)) as door:
        poor = await person(door.services, "poor@example.org", granted=PRICE)
        async with http(door, poor.headers) as client, session(client) as named:
            last = await left(server, door, client, named, poor)
            paid = await client.post("all", **_with(legacy("tools/call", ECHO), named))
            assert "result" in paid.text
            server.released.set()
            refused = (await late(client, named, last))["result"]["structuredContent"]
            assert refused["code"] == "insufficient_credits"
        assert await door.spent(poor) == (PRICE, 0)


async def test_a_list_fetched_late_has_approved_tools_only(opened: Open) -> None:
    server = Everything(eras="legacy", keeps_events=True)
    async with (
        server.serving(),
        opened(config(server)) as door,
        http(door) as client,
        session(client) as named,
    ):
        last = await first_id(client, named, "tools/list", {})
        names = [tool["name"] for tool in (await late(client, named, last))["result"]["tools"]]
        assert "echo" in names
        assert "hidden" not in names


async def test_an_id_is_good_in_its_own_session_only(opened: Open) -> None:
    """Else one paid answer's id would fetch another's for nothing."""
    server = Everything(eras="legacy", keeps_events=True)
    async with server.serving(), opened(config(server)) as door:
        async with http(door) as client, session(client) as first, session(client) as second:
            last = await left(server, door, client, first)
            for named, given in ((second, last), (first, "1"), (first, last[:-2])):
                answer = await client.get("all", headers=named | {"last-event-id": given})
                assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
        assert await door.spent() == (0, 0)


async def test_an_id_used_again_fetches_no_other_answer(opened: Open) -> None:
    """Servers tell streams apart by the ids of their requests, and clients may use one again."""
    server = Everything(eras="legacy", keeps_events=True)
    async with server.serving(), opened(config(server)) as door:
        async with http(door) as client, session(client) as named:
            last = await left(server, door, client, named)
            other = await client.post("all", **_with(legacy("tools/call", ECHO), named))
            assert "echo" in other.text
            server.released.set()
            answer = await late(client, named, last)
            assert (answer["id"], answer["result"]["content"][0]["text"]) == (1, "wait {}")
        await door.settled(2 * PRICE)
    assert len({call["id"] for call in server.calls}) == 2


async def test_who_cancels_by_their_own_id_is_heard(opened: Open) -> None:
    server = Everything(eras="legacy", keeps_events=True)
    async with server.serving(), opened(config(server)) as door:
        async with http(door) as client, session(client) as named:
            await left(server, door, client, named)
            said = {"jsonrpc": "2.0", "method": "notifications/cancelled"}
            told = await client.post("all", json=said | {"params": {"requestId": 1}}, headers=named)
            assert told.status_code == 202
            async with asyncio.timeout(20):
                await server.cancelled.wait()
        await door.settled(0)


ECHO = {"name": "echo", "arguments": {"n": 1}}


def _with(sent: dict[str, Any], named: dict[str, str]) -> dict[str, Any]:
    return sent | {"headers": sent["headers"] | named}
