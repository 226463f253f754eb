"""The same requests through the fast way and through the SDK: same status, same JSON."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from mcp.shared.inbound import encode_header_value

from tests.surfaces.fastpath.conftest import META, Far, message
from tests.surfaces.fastpath.upstream import text

pytestmark = pytest.mark.anyio
V = "io.modelcontextprotocol/protocolVersion"
C = "io.modelcontextprotocol/clientCapabilities"
I = "io.modelcontextprotocol/clientInfo"  # noqa: E741


@dataclass(frozen=True)
class Case:
    """A request; `is_fast` says whether it has to go the fast way to the upstream."""

    name: str
    body: Any
    is_fast: bool = False
    headers: list[tuple[str, str]] = field(default_factory=list)
    named: str | None = None
    drop: str | None = None
    answer: Any = None


def _meta(**changes: Any) -> dict[str, Any]:
    return {key: value for key, value in (META | changes).items() if value is not ...}


def _raw(*, request_id: str = "1", arguments: str = '{"text":"hi"}', end: str = "") -> bytes:
    meta = orjson.dumps(META).decode()
    return (
        f'{{"jsonrpc":"2.0","id":{request_id},"method":"tools/call","params":{{"name":"far.echo",'
        f'"arguments":{arguments},"_meta":{meta}}}}}{end}'
    ).encode()


GOOD = [
    Case("plain", message(), is_fast=True),
    Case("free", message("far.free"), is_fast=True),
    Case("an id that is text", message(request_id="a-1"), is_fast=True),
    Case("an id with escapes", _raw(request_id='"\\u00e9\\n"'), named="far.echo", is_fast=True),
    Case("an id of zero", message(request_id=0), is_fast=True),
    Case("unicode", message(arguments={"text": "Größe 大 \U0001f9ec"}), is_fast=True),
    Case("spaces", _raw(arguments='  { "text" :\n"hi" }  '), named="far.echo", is_fast=True),
    Case("no client info", message(_meta=_meta(**{I: ...})), is_fast=True),
    Case("capabilities", message(_meta=_meta(**{C: {"experimental": {}}})), is_fast=True),
    Case("can be asked", message(_meta=_meta(**{C: {"elicitation": {}}}))),
    Case(
        "a name in base64",
        message(),
        headers=[("mcp-name", "=?base64?ZmFyLmVjaG8=?=")],
        is_fast=True,
    ),
    Case("accepts all", message(), headers=[("accept", "*/*")], is_fast=True),
    Case(
        "a header of a parameter",
        message("far.region", arguments={"region": "eu"}),
        headers=[("mcp-param-region", "eu")],
        is_fast=True,
    ),
    Case(
        "a coded header of a parameter",
        message("far.region", arguments={"region": "Genève"}),
        headers=[("mcp-param-region", encode_header_value("Genève"))],
        is_fast=True,
    ),
    Case("no arguments where none are needed", message("far.region", arguments={}), is_fast=True),
    Case("null arguments", message("far.region", arguments=None)),
    Case("progress", message(_meta=_meta(progressToken=1))),
    Case("a long number", message(arguments={"text": "1234567890123456789012"})),
    Case("an origin", message(), headers=[("origin", "https://ui.example")]),
    Case("an alias", message("far_echo")),
    Case("an own tool", message("billing.get_wallet", arguments={})),
]
BAD = [
    Case("no json", b"{", named="far.echo"),
    Case("empty", b"", named="far.echo"),
    Case("not utf-8", _raw(arguments='{"text":"') + b'\xff"}', named="far.echo"),
    Case("a batch", [message(), message(request_id=2)], named="far.echo"),
    Case("an empty batch", [], named="far.echo"),
    Case("a number", 5, named="far.echo"),
    Case("text after it", _raw(end="x"), named="far.echo"),
    Case("deep", b"[" * 100_000, named="far.echo"),
    Case("deep arguments", _raw(arguments='{"text":' + "[" * 30_000), named="far.echo"),
    Case(
        "nested too deeply",
        _raw(arguments='{"text":' + "[" * 80 + "]" * 80 + "}"),
        named="far.echo",
    ),
    Case("an id that is null", message(request_id=None)),
    Case("an id that is true", message(request_id=True)),
    Case("an id that is a fraction", message(request_id=1.5)),
    Case("an id that is a list", message(request_id=[1])),
    Case("a huge id", _raw(request_id="123456789012345678901234567890"), named="far.echo"),
    Case("an old json-rpc", message() | {"jsonrpc": "1.0"}, named="far.echo"),
    Case("no json-rpc", {k: v for k, v in message().items() if k != "jsonrpc"}),
    Case("a notification", {k: v for k, v in message().items() if k != "id"}),
    Case("another method", message() | {"method": "tools/list"}, named="far.echo"),
    Case("params are a list", message() | {"params": [1]}, named="far.echo"),
    Case("no params", {k: v for k, v in message().items() if k != "params"}, named="far.echo"),
    Case("no meta", message(_meta=None)),
    Case("meta is text", message(_meta="x")),
    Case("no version", message(_meta=_meta(**{V: ...}))),
    Case("another version", message(_meta=_meta(**{V: "2099-01-01"}))),
    Case("an unknown version", message(_meta=_meta(**{V: "2099-01-01"})),
         headers=[("mcp-protocol-version", "2099-01-01")]),
    Case("no capabilities", message(_meta=_meta(**{C: ...}))),
    Case("capabilities are text", message(_meta=_meta(**{C: "x"}))),
    Case("client info is text", message(_meta=_meta(**{I: "x"}))),
    Case("a name that is a number", message() | {"params": {"name": 5, "_meta": META}},
         named="5"),
    Case("no name", message() | {"params": {"_meta": META}}, named="far.echo"),
    Case("arguments are text", message(arguments="x")),
    Case("arguments are a list", message(arguments=[1])),
    Case("an argument of another type", message(arguments={"text": 5})),
    Case("an unknown argument", message(arguments={"text": "a", "more": 1})),
    Case("a missing argument", message(arguments={})),
    Case("a number too large", _raw(arguments='{"text":"a","n":99999999999999999999}'),
         named="far.echo"),
    Case("not a number", _raw(arguments='{"text":"a","n":NaN}'), named="far.echo"),
    Case("a NUL", message(arguments={"text": "a\x00b"})),
    Case("a lone surrogate", _raw(arguments='{"text":"\\ud800"}'), named="far.echo"),
    Case("a tool that there is not", message("far.none")),
    Case("a tool that looks like one", message("far.ech\u043e"),
         headers=[("mcp-name", encode_header_value("far.ech\u043e"))]),
    Case("a tool that is switched off", message("far.off")),
    Case("too dear", message("far.dear")),
    Case("another name in the header", message(), headers=[("mcp-name", "far.free")]),
    Case("a broken base64 name", message(), headers=[("mcp-name", "=?base64?ZmFy!!?=")]),
    Case("another method in the header", message(), headers=[("mcp-method", "tools/list")]),
    Case("no name in the header", message(), drop="mcp-name"),
    Case("no method in the header", message(), drop="mcp-method"),
    Case("two names", message(), headers=[("mcp-name", "far.echo"), ("mcp-name", "far.free")]),
    Case("two methods", message(),
         headers=[("mcp-method", "tools/call"), ("mcp-method", "tools/call")]),
    Case("two versions", message(), headers=[("mcp-protocol-version", "2026-07-28")] * 2),
    Case("a parameter without its header", message("far.region", arguments={"region": "eu"})),
    Case("a header without its parameter", message("far.region", arguments={}),
         headers=[("mcp-param-region", "eu")]),
    Case("another parameter in the header", message("far.region", arguments={"region": "eu"}),
         headers=[("mcp-param-region", "us")]),
    Case("two headers of a parameter", message("far.region", arguments={"region": "eu"}),
         headers=[("mcp-param-region", "eu"), ("mcp-param-region", "eu")]),
    Case("another host", message(), headers=[("host", "evil.example")]),
    Case("another origin", message(), headers=[("origin", "https://evil.example")]),
    Case("no key", message(), drop="authorization"),
    Case("a wrong key", message(), headers=[("authorization", "Bearer uaol_" + "x" * 43)]),
    Case("a key that is none", message(), headers=[("authorization", "Basic eDp5")]),
    Case("accepts json only", message(), headers=[("accept", "application/json")]),
    Case("accepts nothing of ours", message(), headers=[("accept", "text/html")]),
    Case("another content type", message(), headers=[("content-type", "text/plain")]),
    Case("too large", message(arguments={"text": "x" * 70_000})),
    Case("input responses", message(inputResponses={"a": {}})),
    Case("a request state", message(requestState="x")),
]  # fmt: skip
ODD: Mapping[str, Any] = {
    "only text": {"content": [text("plain")]},
    "text that is JSON": {"content": [text('{"a": 1}')]},
    "structured text": {"content": [], "structuredContent": "x"},
    "a structured list": {"content": [], "structuredContent": [1]},
    "a structured null": {"content": [text("a")], "structuredContent": None},
    "an error": {"content": [text("it failed")], "isError": True},
    "an error with a code": {
        "content": [text("x")],
        "structuredContent": {"code": "gene_not_found", "message": "No gene.", "hint": "Look."},
        "isError": True,
    },
    "an error with our code": {
        "content": [text("x")],
        "structuredContent": {"code": "insufficient_credits", "message": "Pay."},
        "isError": True,
    },
    "an image": {"content": [{"type": "image", "data": "aGk=", "mimeType": "image/png"}]},
    "a link": {"content": [{"type": "resource_link", "name": "a", "uri": "file:///a"}]},
    "a resource": {
        "content": [{"type": "resource", "resource": {"uri": "file:///a", "text": "b"}}]
    },
    "content that is text": {"content": "x"},
    "no content": {"structuredContent": {"a": 1}},
    "a NUL": {"content": [text("a\x00")], "structuredContent": {"a": "\x00"}},
    "a protocol error": b'"error":{"code":-32602,"message":"No such tool"}',
    "an internal error": b'"error":{"code":-32603,"message":"Oh no"}',
    "an unknown method": b'"error":{"code":-32601,"message":"Method not found"}',
    "a result that is a list": b'"result":[1]',
    "no result": b'"nothing":1',
    "no json": (200, b"<html>"),
    "no such status": (500, b"{}"),
    "too much": {"content": [text("x" * 70_000)]},
}
OURS = [Case(f"the server answers: {name}", message("far.odd"), answer=odd, is_fast=True)
        for name, odd in ODD.items()]  # fmt: skip


async def _both(far: Far, case: Case) -> tuple[Any, Any]:
    """Status and JSON of the SDK's way, then of the fast one."""
    found = []
    for is_slow in (True, False):
        far.upstream.answer = case.answer
        # Faults of the cases before must not have the server left alone.
        far.services.proxy.breakers.record("far", None)
        response = await far.post(
            case.body, name=case.named, headers=case.headers, drop=case.drop, is_slow=is_slow
        )
        shown = orjson.loads(response.content) if response.content else None
        found.append((response.status_code, response.headers.get("content-type"), shown))
    return found[0], found[1]


async def _differences(far: Far, cases: list[Case]) -> dict[str, Any]:
    """Where the two ways answer otherwise, or a request took the wrong one, by case."""
    found: dict[str, Any] = {}
    for case in cases:
        far.carried.clear()
        far.upstream.calls.clear()
        slow, fast = await _both(far, case)
        sent = [(call["name"], call.get("arguments")) for call in far.upstream.calls]
        if fast != slow or sent[:1] != sent[1:]:
            found[case.name] = {"slow": slow, "fast": fast, "sent": sent}
        elif bool(far.carried) is not case.is_fast:
            found[case.name] = f"went the fast way: {bool(far.carried)}"
    return found


@pytest.mark.parametrize("cases", [GOOD, BAD, OURS], ids=["good", "bad", "answers"])
async def test_both_ways_answer_alike(far: Far, cases: list[Case]) -> None:
    assert await _differences(far, cases) == {}


async def test_blocks_that_the_sdk_does_not_know_are_passed_on(far: Far) -> None:
    """The SDK would leave out the whole content, of an answer that was paid for."""
    for block in ({"type": "smell", "data": "x"}, {"type": "image"}):
        far.upstream.answer = {"content": [block]}
        result = (await far.post(message("far.odd"))).json()["result"]
        assert result["content"] == [block]


async def test_who_has_no_credits_is_told_alike(far: Far, poor: Any) -> None:
    answers = [
        (await far.post(message(), who=poor, is_slow=is_slow)).json() for is_slow in (True, False)
    ]
    assert answers[0] == answers[1]
    assert answers[0]["result"]["structuredContent"]["code"] == "insufficient_credits"
    assert far.upstream.calls == []
