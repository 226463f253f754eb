"""Progress of a call reaches whoever made it, and nobody else."""

import asyncio
import json
from typing import Any

import pytest

from app.proxy.carrying import Progress
from app.proxy.wire import HttpWire, Target
from tests.proxy.wire.played import Seen, playing
from tests.proxy.wire.test_oldsse import OldServer

pytestmark = pytest.mark.anyio


class Heard(list[tuple[float, float | None, str | None]]):
    """What was told."""

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        self.append((progress, total, message))


def notice(params: Any, method: str = "notifications/progress") -> bytes:
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode()


async def test_what_is_told_is_handed_on() -> None:
    progress = Progress(heard := Heard())
    token = progress.asked({"_meta": {"a": 1}})["_meta"]["progressToken"]
    await progress(notice({"progressToken": token, "progress": 1}))
    await progress(notice({"progressToken": token, "progress": 0.5, "total": 2, "message": "m"}))
    assert heard == [(1, None, None), (0.5, 2, "m")]


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(notice([1]), id="no object"),
        pytest.param(notice(None), id="nothing"),
        pytest.param(notice({"progressToken": "uaol-x", "progress": 1}), id="another's"),
        pytest.param(notice({"progressToken": 1, "progress": 1}), id="a number"),
        pytest.param(notice({"progress": 1}), id="nobody's"),
        pytest.param(b"[]", id="no message"),
        pytest.param(b"\xff", id="no text"),
        pytest.param(b"[" * 100_000, id="depth"),
    ],
)
async def test_what_is_not_this_progress_is_let_be(message: bytes) -> None:
    progress = Progress(heard := Heard())
    await progress(message)
    assert heard == []


async def test_what_is_wrong_with_this_progress_is_let_be() -> None:
    progress = Progress(heard := Heard())
    token = progress.asked({})["_meta"]["progressToken"]
    for told in ({"progress": "1"}, {"progress": True}, {"progress": 1, "message": [1]}):
        await progress(notice({"progressToken": token, **told}))
    assert heard == []


async def test_calls_by_one_stream_hear_only_of_their_own() -> None:
    """Where the developer's credentials serve all, users share an old server's session."""

    class Telling(OldServer):
        def answer(self, request: Seen) -> bytes | None:
            found = super().answer(request)
            if found is None or request.json["method"] != "tools/call":
                return found
            params = request.json["params"]
            token = params["_meta"]["progressToken"]
            told = notice({"progressToken": token, "progress": 1, "message": params["of"]})
            return told + b"\n\nevent: message\ndata: " + found

    async def heard_by(wire: HttpWire, target: Target, user: str) -> Heard:
        progress = Progress(heard := Heard())
        await wire.call(
            target,
            "tools/call",
            json.dumps(progress.asked({"of": user})).encode(),
            name="echo",
            headers={},
            timeout_s=20.0,
            owner="developer",
            on_message=progress,
        )
        return heard

    wire = HttpWire()
    async with playing(old := Telling()) as server:
        target = server.target(transport="sse")
        users = [f"user {n}" for n in range(20)]
        heard = await asyncio.gather(*(heard_by(wire, target, user) for user in users))
        assert heard == [[(1, None, user)] for user in users]
        assert len(old.streams) == 1
        await wire.close()
        old.ends.set()
