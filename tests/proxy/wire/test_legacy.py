"""Servers of before 2026-07-28: their sessions, one for each owner, and how these end."""

import asyncio
import json
from typing import Any

import pytest

from app.kernel.errors import Code
from app.proxy.wire import HttpWire
from app.proxy.wire.sessions import IDLE_S, Sessions
from tests.proxy.wire.conftest import Call, Refused
from tests.proxy.wire.played import Seen, event, playing, respond, result_of

pytestmark = pytest.mark.anyio
HELLO = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "old", "version": "1"},
}
DONE: dict[str, Any] = {"content": []}


class Legacy:
    """A server with sessions; `forget` ends them all, `asks` is sent before an answer."""

    def __init__(self, asks: bytes | None = None) -> None:
        self.sessions: list[str] = []
        self.made = 0
        self.asks = asks
        self.replies: list[Any] = []

    def forget(self) -> None:
        self.sessions.clear()

    async def __call__(self, request: Seen, writer: asyncio.StreamWriter) -> None:
        if request.method == "DELETE":
            if (name := request.header("mcp-session-id")) in self.sessions:
                self.sessions.remove(name)
            respond(writer, b"")
            return
        method = request.json.get("method")
        if method == "server/discover":
            respond(writer, b'{"error":"unknown"}', status="400 Bad Request")
        elif method == "initialize":
            self.made += 1
            name = f"s-{self.made}"
            self.sessions.append(name)
            extra = f"Mcp-Session-Id: {name}\r\n"
            respond(writer, result_of(request, HELLO), extra=extra)
        elif request.header("mcp-session-id") not in self.sessions:
            respond(writer, b"gone", status="404 Not Found", kind="text/plain")
        elif method is None or "id" not in request.json:
            self.replies.append(request.json)
            respond(writer, b"", status="202 Accepted")
        else:
            self._answer(request, writer)

    def _answer(self, request: Seen, writer: asyncio.StreamWriter) -> None:
        if self.asks is None:
            respond(writer, result_of(request, DONE))
            return
        data = event(self.asks) + event(result_of(request, DONE))
        respond(writer, data, kind="text/event-stream")


async def test_one_handshake_serves_many_calls(call: Call) -> None:
    async with playing(legacy := Legacy()) as server:
        target = server.target()
        await asyncio.gather(*(call(target, owner="alice") for _ in range(5)))
        await call(target, owner="alice")
    assert legacy.made == 1
    last = server.seen[-1]
    assert last.header("mcp-protocol-version") == "2025-06-18"
    assert (last.header("mcp-method"), last.header("mcp-name")) == (None, None)
    assert {"jsonrpc": "2.0", "method": "notifications/initialized", "params": {}} in [
        one.json for one in server.seen
    ]


async def test_owners_of_credentials_share_no_session(call: Call) -> None:
    async with playing(legacy := Legacy()) as server:
        target = server.target()
        for owner in ("alice", "bob", "alice", None):
            await call(target, owner=owner, headers={"X-Key": f"key of {owner}"})
    used = [
        (one.header("mcp-session-id"), one.header("x-key"))
        for one in server.calls
        if one.json.get("method") == "tools/call"
    ]
    assert legacy.made == 3
    assert used == [
        ("s-1", "key of alice"),
        ("s-2", "key of bob"),
        ("s-1", "key of alice"),
        ("s-3", "key of None"),
    ]


async def test_a_session_that_was_forgotten_is_opened_again_once(
    call: Call, refused: Refused
) -> None:
    async with playing(legacy := Legacy()) as server:
        target = server.target()
        await call(target)
        legacy.forget()
        assert (await call(target)).body is not None
        assert legacy.made == 2

        async def forgetful(request: Seen, writer: asyncio.StreamWriter) -> None:
            await legacy(request, writer)
            legacy.forget()

        server.answer = forgetful
        legacy.forget()
        assert (await refused(target)).code is Code.TOOL_SERVER_DOWN
        assert legacy.made == 3


async def test_sessions_are_ended_at_the_server(wire: HttpWire, call: Call) -> None:
    async with playing(legacy := Legacy()) as server:
        await call(server.target(), owner="alice")
        await call(server.target(), owner="bob")
        await wire.close()
        assert legacy.sessions == []


async def test_a_session_unused_for_long_is_ended(wire: HttpWire) -> None:
    now = 0.0
    sessions = Sessions(wire.pool, clock=lambda: now)
    async with playing(legacy := Legacy()) as server:
        target = server.target()
        await sessions.call(target, "tools/call", b"{}", owner="a", headers={})
        now = IDLE_S + 1
        await sessions.call(target, "tools/call", b"{}", owner="b", headers={})
        await sessions.close()
        assert (len(sessions), legacy.made, legacy.sessions) == (0, 2, [])


@pytest.mark.parametrize(
    ("asked", "reply"),
    [
        ("ping", {"result": {}}),
        ("roots/list", {"error": {"code": -32601, "message": "Method not found"}}),
        ("sampling/createMessage", {"error": {"code": -32601, "message": "Method not found"}}),
    ],
)
async def test_what_the_server_asks_is_answered(
    call: Call, asked: str, reply: dict[str, Any]
) -> None:
    asks = json.dumps({"jsonrpc": "2.0", "id": "q1", "method": asked}).encode()
    async with playing(legacy := Legacy(asks)) as server:
        assert (await call(server.target())).body is not None
    assert {"jsonrpc": "2.0", "id": "q1"} | reply in legacy.replies


async def test_a_handshake_that_fails_is_tried_again_at_the_next_call(
    call: Call, refused: Refused
) -> None:
    legacy = Legacy()

    async def failing(request: Seen, writer: asyncio.StreamWriter) -> None:
        if b'"initialize"' in request.body:
            strange = HELLO | {"protocolVersion": "1999-01-01"}
            respond(writer, result_of(request, strange))
        else:
            await legacy(request, writer)

    async with playing(failing) as server:
        target = server.target()
        assert (await refused(target)).code is Code.TOOL_PROTOCOL_ERROR
        server.answer = legacy
        assert (await call(target)).body is not None


async def test_who_has_left_is_told_to_the_server(
    wire: HttpWire, call: Call, refused: Refused
) -> None:
    """Of a closed connection servers of that era are not to think so."""
    asked: list[Any] = []
    is_asked = asyncio.Event()

    class Silent(Legacy):
        def _answer(self, request: Seen, writer: asyncio.StreamWriter) -> None:
            asked.append(request.json["id"])
            is_asked.set()

    async with playing(legacy := Silent()) as server:
        target = server.target()
        assert (await refused(target, timeout_s=0.2)).code is Code.TOOL_TIMEOUT
        # The time may have been over before the server was even asked.
        is_asked.clear()
        leaving = asyncio.create_task(call(target))
        await is_asked.wait()
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        await wire.close()
    said = {"jsonrpc": "2.0", "method": "notifications/cancelled"}
    assert asked
    assert all(said | {"params": {"requestId": one}} in legacy.replies for one in asked)


async def test_a_session_is_of_one_server_as_it_is_now(call: Call) -> None:
    """Two servers may have one address, and one server other headers from now on."""
    async with playing(legacy := Legacy()) as server:
        keys = ["1", "1", "2"]
        for key in keys:
            await call(server.target(headers={"X-Key": key}), owner="alice")
        assert legacy.made == 2
        await call(server.target(name="other", headers={"X-Key": "2"}), owner="alice")
        assert legacy.made == 3
    sent = [one.header("x-key") for one in server.calls if b"tools/call" in one.body]
    assert sent == [*keys, "2"]


async def test_who_shakes_hands_while_the_server_changes_is_answered(call: Call) -> None:
    is_asked, may_greet = asyncio.Event(), asyncio.Event()

    class Slow(Legacy):
        async def __call__(self, request: Seen, writer: asyncio.StreamWriter) -> None:
            if b'"initialize"' in request.body and request.header("x-key") == "1":
                is_asked.set()
                await may_greet.wait()
            await super().__call__(request, writer)

    async with playing(Slow()) as server:
        old, new = (server.target(headers={"X-Key": key}) for key in ("1", "2"))
        greeting = asyncio.create_task(call(old, owner="alice"))
        await is_asked.wait()
        assert (await call(new, owner="alice")).body is not None
        may_greet.set()
        assert (await greeting).body is not None


async def test_a_session_of_before_ends_after_its_last_call(wire: HttpWire, call: Call) -> None:
    is_asked, may_answer = asyncio.Event(), asyncio.Event()
    ended: list[bool] = []

    class Slow(Legacy):
        async def __call__(self, request: Seen, writer: asyncio.StreamWriter) -> None:
            if b'"slow"' in request.body:
                is_asked.set()
                await may_answer.wait()
            if request.method == "DELETE":
                ended.append(may_answer.is_set())
            await super().__call__(request, writer)

    async with playing(legacy := Slow()) as server:
        old, new = (server.target(headers={"X-Key": key}) for key in ("1", "2"))
        waiting = asyncio.create_task(call(old, b'{"name":"slow"}', owner="alice"))
        await is_asked.wait()
        assert (await call(new, owner="alice")).body is not None
        may_answer.set()
        assert (await waiting).body is not None
        await wire.close()
    assert (ended, legacy.sessions) == ([True, True], [])
