"""Servers that answer what is no answer: the caller gets an error, pays nothing, learns nothing."""

import asyncio
import logging
from typing import Any

import httpx2
import orjson
import pytest

from tests.books import assert_balanced
from tests.surfaces.fastpath.conftest import Far, message
from tests.surfaces.fastpath.test_sessions import call, sitting

pytestmark = pytest.mark.anyio
CANARY = "canary-7f3a9d51c2"
RIGHT = {"content": [{"type": "text", "text": CANARY}], "resultType": "complete"}


def _whole(request_id: Any = 1, **more: Any) -> tuple[int, bytes]:
    return 200, orjson.dumps({"jsonrpc": "2.0", "id": request_id, **more})


BAD: dict[str, Any] = {
    "an id of another request": _whole(999_999_999, result=RIGHT),
    "an id that is text": _whole("1", result=RIGHT),
    "an id that is a list": _whole([1], result=RIGHT),
    "no id": (200, orjson.dumps({"jsonrpc": "2.0", "result": RIGHT})),
    "an id that is null": _whole(None, result=RIGHT),
    "a batch": (200, orjson.dumps([{"jsonrpc": "2.0", "id": 1, "result": RIGHT}])),
    "a request": _whole(method="sampling/createMessage", params={"x": CANARY}),
    "a result and an error": b'"result":{"content":[]},"error":{"code":1,"message":"x"}',
    "deep": b'"result":' + b"[" * 30_000 + b"]" * 30_000,
    "a flood": (200, b" " * 2_000_000),
    "no utf-8": b'"result":{"content":[{"type":"text","text":"\xff"}]}',
    "half of it": (200, b'{"jsonrpc":"2.0","id":1,"result":{"content":['),
}


async def test_answers_that_are_none_cost_nothing(far: Far) -> None:
    """By requests of the new era and in sessions, the fast way and the SDK's."""
    async with sitting(far) as session:
        for name, answer in BAD.items():
            far.upstream.answer = answer
            told = []
            for is_slow in (False, True):
                far.services.proxy.breakers.record("far", None)
                told.append((await far.post(message("far.odd"), is_slow=is_slow)).content)
            far.services.proxy.breakers.record("far", None)
            told.append((await session.send(call("far.odd"))).content)
            for said in told:
                assert b'"isError":true' in said, (name, said[:300])
                assert b"tool_" in said, (name, said[:300])
                assert CANARY.encode() not in said, name
    async with asyncio.timeout(30):
        # What the platform had set aside for such calls goes back a moment later.
        while (await far.wallet())[1]:
            await asyncio.sleep(0.01)
    assert await far.wallet() == (0, 0)
    await assert_balanced(far.services.database)


async def test_no_key_of_a_caller_leaves(far: Far, caplog: pytest.LogCaptureFixture) -> None:
    """Not to the server, not into answers, logs, metrics or the books."""
    caplog.set_level(logging.DEBUG)
    key = far.world.alice.key
    far.upstream.answer = {"content": [{"type": "text", "text": "x"}], "isError": True}
    texts = []
    for more in ([], [("cookie", CANARY)], [("x-canary", CANARY)], [("mcp-param-x", CANARY)]):
        for is_slow in (False, True):
            for name in ("far.echo", "far.odd", "far.none"):
                answer = await far.post(message(name), headers=more, is_slow=is_slow)
                texts.append(answer.text + str(answer.headers))
    async with httpx2.AsyncClient(timeout=60) as client:
        texts.append((await client.get(f"{far.url}/metrics")).text)
    texts.append(str(far.upstream.headers) + str(far.upstream.calls))
    texts.extend(record.getMessage() + str(record.__dict__) for record in caplog.records)
    async with far.services.database.begin(far.world.alice.principal) as uow:
        rows = await uow.execute("select to_jsonb(t)::text from app.usage_event t")
        texts.extend(str(row[0]) for row in rows)
    assert len(far.upstream.headers) > 0
    # The test's own client logs what it sends.
    ours = [text for text in texts if "httpcore" not in text]
    for secret in (key, CANARY):
        assert [text[:200] for text in ours if secret in text] == []
