"""Calls in sessions of the handshake era: the fast way answers them as the SDK does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
import orjson
import pytest

from app.kernel.clock import SystemClock
from tests.books import assert_balanced
from tests.surfaces.fastpath.conftest import PRICE, Far
from tests.surfaces.fastpath.test_corpus import ODD
from tests.surfaces.world import Person

pytestmark = pytest.mark.anyio
VERSION = "2025-06-18"
# A page that may ask: its answers carry headers of CORS, which only the SDK's way has.
SLOWLY = {"origin": "https://ui.example"}


@dataclass
class Session:
    """A session of the handshake era, spoken to by hand."""

    far: Far
    who: Person
    version: str
    headers: dict[str, str] = field(default_factory=dict)

    async def send(self, body: Any, method: str = "POST", **headers: str) -> httpx2.Response:
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        usual = {
            "accept": "application/json, text/event-stream",
            "content-type": "application/json",
            "authorization": self.who.headers["authorization"],
        }
        sent = {**usual, **self.headers, **headers}
        url = f"{self.far.url}/mcp"
        return await self.far.http.request(method, url, content=data, headers=sent)


@asynccontextmanager
async def sitting(
    far: Far, version: str = VERSION, capabilities: Any = None, who: Person | None = None
) -> AsyncIterator[Session]:
    made = Session(far, who or far.world.alice, version)
    hello = {
        "protocolVersion": version,
        "capabilities": capabilities or {},
        "clientInfo": {"name": "test", "version": "1"},
    }
    message = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}
    answer = await made.send(message)
    made.headers["mcp-session-id"] = answer.headers["mcp-session-id"]
    made.headers["mcp-protocol-version"] = version
    await made.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
    yield made


def call(name: str = "far.echo", request_id: Any = 1, **params: Any) -> dict[str, Any]:
    given = {"name": name, "arguments": {"text": "hi"}} | params
    return {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": given}


def raw(arguments: str, request_id: str = "1") -> bytes:
    params = f'{{"name":"far.echo","arguments":{arguments}}}'
    message = f'{{"jsonrpc":"2.0","id":{request_id},"method":"tools/call","params":{params}}}'
    return message.encode()


def shown(response: httpx2.Response) -> Any:
    """Status and JSON, whether it came as a body or as a stream of one message."""
    kind, content = response.headers.get("content-type", ""), response.content
    if kind.startswith("text/event-stream"):
        lines = [line[6:] for line in content.splitlines() if line.startswith(b"data: ")]
        return response.status_code, [orjson.loads(line) for line in lines if line]
    return response.status_code, [orjson.loads(content)] if content else []


async def both(session: Session, body: Any, **headers: str) -> tuple[Any, Any]:
    """The SDK's way, then the fast one."""
    found = []
    for more in (SLOWLY, {}):
        session.far.services.proxy.breakers.record("far", None)
        found.append(shown(await session.send(body, **headers, **more)))
    return found[0], found[1]


FAST: dict[str, Any] = {
    "plain": call(),
    "free": call("far.free"),
    "an id that is text": call(request_id="a-1"),
    "unicode": call(arguments={"text": "Größe 大 \U0001f9ec"}),
    "spaces": raw('  { "text" :\n"hi" }  '),
    "an argument of another type": call(arguments={"text": 5}),
    "an unknown argument": call(arguments={"text": "a", "more": 1}),
    "a missing argument": call(arguments={}),
    "a NUL": call(arguments={"text": "a\x00b"}),
    "too dear": call("far.dear"),
    "nested too deeply": raw('{"text":' + "[" * 80 + "]" * 80 + "}"),
}
SLOW: dict[str, Any] = {
    "null arguments": call(arguments=None),
    "progress": call(_meta={"progressToken": 1}),
    "a long number": call(arguments={"text": "1234567890123456789012"}),
    "an alias": call("far_echo"),
    "an own tool": call("billing.get_wallet", arguments={}),
    "a tool that there is not": call("far.none"),
    "a tool that is switched off": call("far.off"),
    "arguments are text": call(arguments="x"),
    "arguments are a list": call(arguments=[1]),
    "not a number": raw('{"text":"a","n":NaN}'),
    "a lone surrogate": raw('{"text":"\\ud800"}'),
    "deep": raw('{"text":' + "[" * 30_000),
    "no json": b"{",
    "a number": b"5",
    "an id that is null": call(request_id=None),
    "an old json-rpc": call() | {"jsonrpc": "1.0"},
    "params are a list": call() | {"params": [1]},
    "no params": {key: value for key, value in call().items() if key != "params"},
    "another method": call() | {"method": "tools/none"},
}


async def test_requests_are_answered_alike(far: Far) -> None:
    differences: dict[str, Any] = {}
    async with sitting(far) as session:
        for name, body in {**FAST, **SLOW}.items():
            far.carried.clear()
            far.upstream.calls.clear()
            slow, fast = await both(session, body)
            sent = [(one["name"], one.get("arguments")) for one in far.upstream.calls]
            if slow != fast or sent[:1] != sent[1:]:
                differences[name] = (slow, fast, sent)
            elif name in SLOW and far.carried:
                differences[name] = "went the fast way"
    assert differences == {}


async def test_odd_answers_are_passed_on_alike(far: Far) -> None:
    differences: dict[str, Any] = {}
    async with sitting(far) as session:
        for name, odd in ODD.items():
            far.upstream.answer = odd
            slow, fast = await both(session, call("far.odd"))
            if slow != fast:
                differences[name] = (slow, fast)
    assert differences == {}


@pytest.mark.parametrize("version", ["2025-11-25", "2025-06-18"])
async def test_a_call_in_a_session_goes_the_fast_way_and_is_charged(far: Far, version: str) -> None:
    async with sitting(far, version) as session:
        answer = await session.send(call())
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["mcp-session-id"] == session.headers["mcp-session-id"]
        assert answer.json()["result"]["_meta"] == {"uaol/charged_micro": PRICE}
    assert far.carried == ["far.echo"]
    async with asyncio.timeout(60):
        while (await far.wallet())[0] != PRICE:
            await asyncio.sleep(0.01)
    await assert_balanced(far.world.database)


@pytest.mark.parametrize(
    ("version", "capabilities"),
    [("2025-03-26", {}), (VERSION, {"elicitation": {}}), (VERSION, {"sampling": {}})],
)
async def test_clients_that_may_be_asked_or_are_too_old_are_left_to_the_sdk(
    far: Far, version: str, capabilities: Any
) -> None:
    async with sitting(far, version, capabilities) as session:
        assert (await session.send(call())).status_code == 200
    assert far.carried == []


async def test_who_wants_log_messages_gets_them_of_the_sdk(far: Far) -> None:
    async with sitting(far) as session:
        level = {"jsonrpc": "2.0", "id": 5, "method": "logging/setLevel"}
        await session.send(level | {"params": {"level": "debug"}})
        assert (await session.send(call())).status_code == 200
    assert far.carried == []


@pytest.mark.parametrize(
    "headers",
    [
        {"mcp-session-id": "0" * 32},
        {"mcp-protocol-version": "2025-11-25"},
        {"mcp-protocol-version": "2099-01-01"},
        {"authorization": "Bearer uaol_" + "x" * 43},
        {"accept": "application/json"},
        {"content-type": "text/plain"},
        {"mcp-method": "tools/call"},
    ],
    ids=str,
)
async def test_odd_headers_are_left_to_the_sdk(far: Far, headers: dict[str, str]) -> None:
    async with sitting(far) as session:
        slow, fast = await both(session, call(), **headers)
        assert slow == fast
    assert far.carried == []


async def test_a_session_is_its_owners(far: Far, poor: Person) -> None:
    async with sitting(far) as session:
        session.who = poor
        status, _ = shown(await session.send(call()))
        assert status == 404
        session.who = far.world.alice
        assert (await session.send(call())).status_code == 200
    assert far.carried == ["far.echo"]


async def test_a_session_that_was_ended_carries_nothing_out(far: Far) -> None:
    async with sitting(far) as session:
        assert (await session.send(b"", "DELETE")).status_code == 200
        assert (await session.send(call())).status_code == 404
    assert far.carried == []


async def test_a_call_that_is_cancelled_gets_no_answer_and_costs_nothing(far: Far) -> None:
    async with sitting(far) as session:
        waiting = asyncio.create_task(session.send(call("far.wait", request_id=7)))
        async with asyncio.timeout(60):
            await far.upstream.is_waiting.wait()
            cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled"}
            await session.send(cancelled | {"params": {"requestId": 7}})
            assert shown(await waiting) == (200, [])
            await far.upstream.has_left.wait()
        assert (await session.send(call(request_id=7))).json()["id"] == 7
    async with asyncio.timeout(60):
        while await far.wallet() != (PRICE, 0):
            await asyncio.sleep(0.01)
    assert await far.metered() == 1
    await assert_balanced(far.world.database)


async def test_calls_under_way_end_with_their_session(far: Far) -> None:
    async with sitting(far) as session:
        waiting = asyncio.create_task(session.send(call("far.wait")))
        async with asyncio.timeout(60):
            await far.upstream.is_waiting.wait()
            await session.send(b"", "DELETE")
            assert shown(await waiting) == (200, [])
            await far.upstream.has_left.wait()


async def test_the_sdk_sees_a_session_now_and_then(
    far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or it would take one that only calls tools for an idle one, and end it."""
    async with sitting(far) as session:
        await session.send(call())
        assert far.carried == ["far.echo"]
        now = SystemClock().monotonic() + 100
        with monkeypatch.context() as patched:
            patched.setattr(SystemClock, "monotonic", lambda _self: now)
            for _ in range(2):
                assert (await session.send(call())).status_code == 200
    assert far.carried == ["far.echo", "far.echo"]
