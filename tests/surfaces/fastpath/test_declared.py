"""What tools declare in `_meta`: answers that hold for a while, refusals that cost."""

import asyncio
from typing import Any

import orjson
import pytest

from app.kernel.clock import SystemClock
from tests.books import assert_balanced
from tests.surfaces.fastpath.conftest import PRICE, Far, message
from tests.surfaces.fastpath.upstream import text
from tests.surfaces.world import Person

pytestmark = pytest.mark.anyio
WAYS = pytest.mark.parametrize("is_slow", [False, True], ids=["fast", "sdk"])


async def said(
    far: Far, name: str, words: str = "hi", who: Person | None = None, *, is_slow: bool = False
) -> Any:
    asked = message(name, arguments={"text": words})
    result = (await far.post(asked, who=who, is_slow=is_slow)).json()["result"]
    assert result["isError"] is False
    return result["structuredContent"]["said"]


async def charged(far: Far, amount: int) -> None:
    async with asyncio.timeout(60):
        while await far.wallet() != (amount, 0):
            await asyncio.sleep(0.01)
    await assert_balanced(far.world.database)


@WAYS
async def test_an_answer_holds_for_its_user_and_arguments(far: Far, *, is_slow: bool) -> None:
    for words in ("a", "a", "b", "a"):
        assert await said(far, "far.held", words, is_slow=is_slow) == words
    assert [call["arguments"]["text"] for call in far.upstream.calls] == ["a", "b"]
    assert await said(far, "far.held", "a", far.world.bob, is_slow=is_slow) == "a"
    assert len(far.upstream.calls) == 3
    # An answer costs what it costs, wherever it comes from.
    await charged(far, 4 * PRICE)


@WAYS
async def test_a_public_answer_holds_for_everybody(far: Far, *, is_slow: bool) -> None:
    for who in (far.world.alice, far.world.bob):
        assert await said(far, "far.market", who=who, is_slow=is_slow) == "hi"
    assert len(far.upstream.calls) == 1


async def test_an_argument_given_twice_is_one_everywhere(far: Far) -> None:
    """A server that takes the first would be answering, for everybody, what nobody checked."""
    asked = orjson.dumps(message("far.market"))
    doubled = asked.replace(b'{"text":"hi"}', b'{"text":"evil","text":"hi"}')
    assert doubled != asked
    result = (await far.post(doubled, name="far.market")).json()["result"]
    assert result["structuredContent"]["said"] == "hi"
    assert far.carried == ["far.market"]
    assert b"evil" not in b"".join(far.upstream.bodies)


async def test_both_ways_share_what_they_keep(far: Far) -> None:
    for is_slow in (False, True, False):
        assert await said(far, "far.held", is_slow=is_slow) == "hi"
    assert len(far.upstream.calls) == 1


@WAYS
async def test_an_answer_holds_for_its_time_only(
    far: Far, monkeypatch: pytest.MonkeyPatch, *, is_slow: bool
) -> None:
    await said(far, "far.held", is_slow=is_slow)
    later = SystemClock().monotonic() + 61
    with monkeypatch.context() as patched:
        patched.setattr(SystemClock, "monotonic", lambda _self: later)
        await said(far, "far.held", is_slow=is_slow)
    assert len(far.upstream.calls) == 2


@WAYS
async def test_other_tools_are_asked_every_time(far: Far, *, is_slow: bool) -> None:
    for _ in range(2):
        await said(far, "far.echo", is_slow=is_slow)
    assert len(far.upstream.calls) == 2


@WAYS
async def test_a_refusal_costs_where_the_tool_says_so(far: Far, *, is_slow: bool) -> None:
    refusal = {"content": [text("no")], "isError": True}
    for name in ("far.strict", "far.odd"):
        far.upstream.answer = refusal
        result = (await far.post(message(name), is_slow=is_slow)).json()["result"]
        assert result["isError"] is True
        cost = result["_meta"].get("uaol/charged_micro")
        assert cost == (PRICE if name == "far.strict" else None)
    await charged(far, PRICE)


@WAYS
async def test_a_fault_costs_nothing_even_there(far: Far, *, is_slow: bool) -> None:
    far.upstream.answer = (500, b"")
    result = (await far.post(message("far.strict"), is_slow=is_slow)).json()["result"]
    assert result["structuredContent"]["code"] == "tool_server_down"
    await charged(far, 0)


async def test_lists_show_what_is_declared(far: Far) -> None:
    tools = far.services.registry.snapshot()
    shown = {name: tools.resolve(name).definition.declared.as_meta() for name in
             ("far.held", "far.market", "far.strict", "far.echo")}  # fmt: skip
    assert shown == {
        "far.held": {"uaol/cache_ttl": 60, "uaol/cache_scope": "private"},
        "far.market": {"uaol/cache_ttl": 60, "uaol/cache_scope": "public"},
        "far.strict": {"uaol/errors": "charged"},
        "far.echo": {},
    }
