"""What must not come in, what must not go out, and what must not cross between users."""

import json
from collections.abc import Mapping
from typing import Any

import httpx2
import pytest
from starlette.datastructures import Headers

from app.kernel.principal import Scope
from app.surfaces.mcp.passthrough.inbound import onward_headers, read
from tests.surfaces.mcp_passthrough.conftest import PRICE, Door, Open, config
from tests.surfaces.mcp_passthrough.upstream import Everything
from tests.surfaces.world import person

pytestmark = pytest.mark.anyio
VERSION = "2026-07-28"
CANARY = "canary-7f3a"
META = {
    "io.modelcontextprotocol/protocolVersion": VERSION,
    "io.modelcontextprotocol/clientCapabilities": {"elicitation": {"form": {}}},
}
HELLO = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "test", "version": "1"},
}


def modern(method: str, params: Mapping[str, Any], **changes: str) -> dict[str, Any]:
    """The content and headers of a request of 2026-07-28."""
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": META} | dict(params)}
    headers = {
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": VERSION,
        "mcp-method": method,
    }
    if "name" in params:
        headers["mcp-name"] = params["name"]
    named = {name.replace("_", "-"): value for name, value in changes.items()}
    return {"content": json.dumps(body), "headers": headers | named}


def legacy(method: str, params: Mapping[str, Any], session: str | None = None) -> dict[str, Any]:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": dict(params)}
    headers = {
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
    }
    if session is not None:
        headers |= {"mcp-session-id": session, "mcp-protocol-version": "2025-06-18"}
    return {"content": json.dumps(body), "headers": headers}


def http(door: Door, headers: Mapping[str, str] | None = None) -> httpx2.AsyncClient:
    who = dict(door.world.alice.headers) if headers is None else dict(headers)
    return httpx2.AsyncClient(base_url=f"{door.url}/mcp/servers/", headers=who, timeout=60)


CALL = {"name": "echo", "arguments": {"n": 1}}


@pytest.mark.parametrize("is_modern", [True, False])
async def test_nothing_of_the_callers_own_request_leaves(opened: Open, *, is_modern: bool) -> None:
    server = Everything()
    async with server.serving(), opened(config(server, headers={"x-ours": "1"})) as door:
        canaries = {
            "cookie": f"session={CANARY}",
            "x-forwarded-for": CANARY,
            "x-api-key": CANARY,
            "proxy-authorization": CANARY,
            "mcp-session-id": CANARY,
            "user-agent": CANARY,
            "traceparent": CANARY,
        }
        async with http(door) as client:
            if is_modern:
                sent = modern("tools/call", CALL)
                sent["headers"] |= canaries
            else:
                opening = await client.post("all", **legacy("initialize", HELLO))
                sent = legacy("tools/call", CALL, opening.headers["mcp-session-id"])
                sent["headers"] = canaries | sent["headers"]
            answer = await client.post("all", **sent)
        assert answer.status_code == 200
    key = door.world.alice.key
    seen = json.dumps([server.requests, server.bodies])
    assert CANARY not in seen
    assert key not in seen
    assert len(server.calls) == 1
    assert ("x-ours", "1") in server.requests[-1]


async def test_sessions_are_their_owners(opened: Open) -> None:
    server = Everything(eras="legacy")
    async with server.serving(), opened(config(server)) as door:
        async with http(door) as client:
            opening = await client.post("all", **legacy("initialize", HELLO))
            session = opening.headers["mcp-session-id"]
            mine = await client.post("all", **legacy("tools/call", CALL, session))
            assert mine.status_code == 200
        async with http(door, door.world.bob.headers) as other:
            for method in ("POST", "GET", "DELETE"):
                sent = legacy("tools/call", CALL, session)
                if method != "POST":
                    del sent["content"]
                assert (await other.request(method, "all", **sent)).status_code == 404
        theirs = [dict(one).get("mcp-session-id") for one in server.requests]
        assert session not in theirs
        assert len(server.calls) == 1
        assert await door.spent() == (PRICE, 0)


async def test_one_user_does_not_take_all_room_for_streams(opened: Open) -> None:
    """However many sessions: a server is listened to over so many connections and no more."""
    server = Everything(eras="legacy")
    async with (
        server.serving(),
        opened(config(server), mcp_streams_per_user=1) as door,
        http(door) as client,
    ):
        opening = await client.post("all", **legacy("initialize", HELLO))
        session = opening.headers["mcp-session-id"]
        named = {"accept": "text/event-stream", "mcp-session-id": session}
        async with client.stream("GET", "all", headers=named) as stream:
            assert stream.status_code == 200
            refused = await client.get("all", headers=named)
            assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
            called = await client.post("all", **legacy("tools/call", CALL, session))
            assert "echo" in called.text


async def test_a_session_ends_at_both_sides(opened: Open) -> None:
    server = Everything(eras="legacy")
    async with server.serving(), opened(config(server)) as door, http(door) as client:
        opening = await client.post("all", **legacy("initialize", HELLO))
        session = {"mcp-session-id": opening.headers["mcp-session-id"]}
        assert (await client.delete("all", headers=session)).status_code == 200
        again = legacy("tools/list", {}, session["mcp-session-id"])
        assert (await client.post("all", **again)).status_code == 404


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (modern("tools/call", CALL, mcp_name="steps"), -32020),
        (modern("tools/call", CALL, mcp_method="tools/list"), -32020),
        (modern("tools/call", CALL, mcp_protocol_version="2099-01-01"), -32020),
        (modern("tools/call", {"name": "city", "arguments": {"city": "Bonn"}}), -32020),
        (
            modern(
                "tools/call", {"name": "city", "arguments": {"city": "Bonn"}}, mcp_param_city="Rom"
            ),
            -32020,
        ),
        (modern("tools/call", CALL | {"_meta": {}}), -32602),
        (modern("tools/call", {"name": "echo", "arguments": [1]}), -32602),
        (modern("tools/call", CALL | {"requestState": "forged"}), -32602),
    ],
)
async def test_headers_and_envelope_must_fit(opened: Open, sent: dict[str, Any], code: int) -> None:
    server = Everything()
    async with server.serving(), opened(config(server)) as door, http(door) as client:
        answer = await client.post("all", **sent)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
        assert server.calls == []
        assert await door.spent() == (0, 0)


async def test_white_space_around_a_header_is_none_of_it() -> None:
    sent = modern("tools/call", CALL, mcp_name=" echo ", mcp_method="tools/call\t")
    found = read(sent["content"].encode(), Headers(sent["headers"]))
    assert onward_headers(Headers(sent["headers"]), found)["Mcp-Name"] == "echo"


async def test_a_declared_header_is_made_anew(opened: Open) -> None:
    server = Everything()
    city = {"name": "city", "arguments": {"city": "Köln"}}
    async with server.serving(), opened(config(server)) as door, http(door) as client:
        coded = "=?base64?S8O2bG4=?="
        answer = await client.post("all", **modern("tools/call", city, mcp_param_city=coded))
        assert answer.status_code == 200, answer.text
        assert server.cities == [coded]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":"\xff"}', -32700),
        (b"[" * 20_000 + b"]" * 20_000, -32700),
        (b"[]", -32600),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', -32600),
        (b'"text"', -32600),
        (b'{"id":1,"method":"ping"}', -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":{},"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}', -32602),
        (b'{"jsonrpc":"2.0","method":"tools/call","params":{"name":"echo"}}', -32600),
    ],
)
@pytest.mark.parametrize("version", [None, VERSION])
async def test_what_is_no_message_is_refused(
    opened: Open, body: bytes, code: int, version: str | None
) -> None:
    server = Everything()
    headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    if version is not None:
        headers |= {"mcp-protocol-version": version, "mcp-method": "ping"}
    async with server.serving(), opened(config(server)) as door, http(door) as client:
        before = len(server.requests)
        answer = await client.post("all", content=body, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
        assert (
            len([one for one in server.bodies[before:] if one.get("method") == "tools/call"]) == 0
        )


async def test_a_key_given_twice_means_one_thing_to_all(opened: Open) -> None:
    server = Everything()
    sent = modern("tools/call", CALL)
    sent["content"] = (
        sent["content"]
        .replace('"method": "tools/call"', '"method": "tools/list", "method": "tools/call"')
        .replace('"name": "echo"', '"name": "hidden", "name": "echo"')
    )
    async with server.serving(), opened(config(server)) as door, http(door) as client:
        answer = await client.post("all", **sent)
        assert answer.json()["result"]["structuredContent"] == {"n": 1}
        assert await door.spent() == (PRICE, 0)
    assert server.calls[-1]["params"]["name"] == "echo"


async def test_a_state_comes_back_from_the_same_hands_only(opened: Open) -> None:
    server = Everything()
    async with server.serving(), opened(config(server)) as door:
        async with http(door) as client:
            asked = (await client.post("all", **modern("tools/call", {"name": "ask"}))).json()
            state = asked["result"]["requestState"]
            assert "own state" not in state
            answers = {"who": {"action": "accept", "content": {"name": "Ada"}}}
            again = {"requestState": state, "inputResponses": answers}
            told = await client.post("all", **modern("tools/call", {"name": "ask"} | again))
            assert "Hello Ada" in told.text
            elsewhere = await client.post("all", **modern("tools/call", CALL | again))
            assert elsewhere.json()["error"]["code"] == -32602
        async with http(door, door.world.bob.headers) as other:
            stolen = await other.post("all", **modern("tools/call", {"name": "ask"} | again))
            assert stolen.json()["error"]["code"] == -32602
        assert await door.spent() == (PRICE, 0)


async def test_the_gate_is_the_same_as_before_the_other_tools(opened: Open) -> None:
    server = Everything()
    async with server.serving(), opened(config(server)) as door:
        sent = modern("tools/call", CALL)
        async with http(door, {}) as client:
            assert (await client.post("all", **sent)).status_code == 401
        clerk = await person(door.services, "clerk@example.org", scopes=frozenset({Scope.JOBS}))
        async with http(door, clerk.headers) as client:
            assert (await client.post("all", **sent)).status_code == 403
        async with http(door) as client:
            assert (await client.post("absent", **sent)).status_code == 404
            assert (await client.put("all", **sent)).status_code == 405
            foreign = sent["headers"] | {"origin": "https://evil.example"}
            answer = await client.post("all", content=sent["content"], headers=foreign)
            assert answer.status_code == 403
            foreign = sent["headers"] | {"host": "evil.example"}
            answer = await client.post("all", content=sent["content"], headers=foreign)
            assert answer.status_code == 421
        assert server.calls == []


async def test_a_caller_without_credits_is_told_so(opened: Open) -> None:
    server = Everything()
    async with server.serving(), opened(config(server)) as door:
        poor = await person(door.services, "poor@example.org", granted=0)
        async with http(door, poor.headers) as client:
            answer = (await client.post("all", **modern("tools/call", CALL))).json()
        assert answer["result"]["structuredContent"]["code"] == "insufficient_credits"
        assert server.calls == []


async def test_a_server_that_is_gone_costs_nothing(opened: Open) -> None:
    server = Everything()
    with server.away():
        async with opened(config(server)) as door, http(door) as client:
            answer = await client.post("all", **modern("tools/call", CALL))
            assert (answer.status_code, answer.json()["code"]) == (502, "tool_server_down")
            assert await door.spent() == (0, 0)


async def test_a_session_goes_on_in_another_process(opened: Open) -> None:
    """The id alone tells whose session of the server's it is."""
    server = Everything(eras="legacy")
    async with server.serving():
        async with opened(config(server)) as door, http(door) as client:
            opening = await client.post("all", **legacy("initialize", HELLO))
            session = opening.headers["mcp-session-id"]
        async with opened(config(server)) as door, http(door) as client:
            answer = await client.post("all", **legacy("tools/call", CALL, session))
            assert (answer.status_code, await door.spent()) == (200, (PRICE, 0))
