import asyncio
import json
from typing import Any

import pytest

from app.kernel.errors import Code
from app.proxy.wire import HttpWire, Target
from tests.proxy.wire.conftest import Call, Refused
from tests.proxy.wire.played import (
    DISCOVERED,
    Seen,
    body,
    modern,
    playing,
    respond,
    result,
    result_of,
)
from tests.proxy.wire.test_legacy import Legacy
from tests.serving import port_of_nobody

pytestmark = pytest.mark.anyio
DONE: dict[str, Any] = {"content": []}
UNSUPPORTED = {"code": -32022, "message": "no", "data": {"supported": ["2026-07-28"]}}


async def test_a_server_that_cannot_be_reached_has_no_era_yet(
    wire: HttpWire, refused: Refused
) -> None:
    with port_of_nobody() as port:
        target = Target("far", f"http://127.0.0.1:{port}/mcp", allow_private=True)
        assert (await refused(target)).code is Code.TOOL_SERVER_DOWN
    assert wire.eras.known(target) is None


@pytest.mark.parametrize("status", ["401 No", "403 No"])
async def test_refused_credentials_say_nothing_about_the_era(
    wire: HttpWire, refused: Refused, status: str
) -> None:
    async with playing(body(b"", status=status)) as server:
        assert (await refused(server.target())).code is Code.TOOL_SERVER_DOWN
        assert len(server.seen) == 1
        assert wire.eras.known(server.target()) is None


async def test_a_server_that_moves_to_the_new_era_is_asked_again(call: Call) -> None:
    old = Legacy()
    async with playing(old) as server:
        target = server.target()
        await call(target)

        async def moved(request: Seen, writer: asyncio.StreamWriter) -> None:
            if request.header("mcp-protocol-version") == "2026-07-28":
                respond(writer, result_of(request, DONE))
                return
            message = {"jsonrpc": "2.0", "id": request.json["id"], "error": UNSUPPORTED}
            respond(writer, json.dumps(message).encode(), status="400 Bad Request")

        server.answer = modern(moved)
        assert (await call(target)).body == b'{"content": []}'
        assert server.calls[-1].header("mcp-method") == "tools/call"


async def test_a_server_that_names_our_version_is_asked_with_it_again(call: Call) -> None:
    refusals = 0

    async def picky(request: Seen, writer: asyncio.StreamWriter) -> None:
        nonlocal refusals
        if refusals < 2:
            refusals += 1
            message = {"jsonrpc": "2.0", "id": request.json["id"], "error": UNSUPPORTED}
            respond(writer, json.dumps(message).encode(), status="400 Bad Request")
        else:
            is_asking = request.header("mcp-method") == "server/discover"
            respond(writer, result_of(request, DISCOVERED if is_asking else DONE))

    async with playing(picky) as server:
        assert (await call(server.target())).body == b'{"content": []}'
    assert [one.header("mcp-method") for one in server.seen] == [
        "server/discover",
        "tools/call",
        "server/discover",
        "tools/call",
    ]


async def test_a_server_that_moves_back_is_asked_again(call: Call) -> None:
    async with playing(modern(result(DONE))) as server:
        target = server.target()
        await call(target)
        server.answer = Legacy()
        assert (await call(target)).body is not None
        assert server.calls[-1].header("mcp-session-id") == "s-1"


async def test_a_failing_server_is_not_taken_for_an_old_one_for_long(
    wire: HttpWire, call: Call, refused: Refused
) -> None:
    async with playing(body(b"", status="500 Oops")) as server:
        target = server.target()
        assert (await refused(target)).code is Code.TOOL_SERVER_DOWN
        server.answer = modern(result(DONE))
        assert (await call(target)).body is not None
    assert wire.eras.known(target) == "modern"
