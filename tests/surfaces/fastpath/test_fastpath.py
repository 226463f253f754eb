"""What a call the fast way costs, whom it asks, and what happens when callers leave."""

import asyncio

import pytest
from mcp.shared.exceptions import MCPError

from app.kernel.principal import SERVICE, Scope
from app.surfaces.mcp.fastpath import FastPath
from tests.books import assert_balanced
from tests.manual_clock import ManualClock
from tests.surfaces.fastpath.conftest import PRICE, Far, message
from tests.surfaces.fastpath.upstream import text
from tests.surfaces.test_mcp import connected
from tests.surfaces.world import person

pytestmark = pytest.mark.anyio


async def test_a_call_is_charged_metered_and_durable(far: Far) -> None:
    answer = (await far.post(message())).json()
    assert answer["result"]["structuredContent"] == {"said": "hi"}
    assert answer["result"]["_meta"]["uaol/charged_micro"] == PRICE
    assert far.carried == ["far.echo"]
    calls = far.services.proxy
    assert calls is not None
    async with asyncio.timeout(60):
        while (await far.wallet())[0] != PRICE:
            await asyncio.sleep(0.01)
    assert await far.metered() == 1
    await assert_balanced(far.world.database)


async def test_the_sdks_client_goes_the_fast_way(far: Far) -> None:
    async with connected(far.url, far.world.alice) as client:
        for word in ("one", "two"):
            result = await client.call_tool("far.echo", {"text": word})
            assert result.structured_content == {"said": word}
        result = await client.call_tool("far.echo", {"text": 5})
        assert result.is_error
        assert result.structured_content["code"] == "invalid_input"
        with pytest.raises(MCPError):
            await client.call_tool("far.none", {})
    assert far.carried == ["far.echo", "far.echo"]


async def test_the_upstream_sees_its_own_name_and_nothing_of_the_caller(far: Far) -> None:
    await far.post(message("far.region", arguments={"region": "eu"}),
                   headers=[("mcp-param-region", "eu"), ("cookie", "a=b")])  # fmt: skip
    (sent,) = far.upstream.headers
    assert (sent["mcp-name"], sent["mcp-param-region"]) == ("region", "eu")
    assert not {"authorization", "cookie", "mcp-session-id"} & sent.keys()
    assert far.upstream.calls[0]["_meta"] != message()["params"]["_meta"]


@pytest.mark.parametrize(
    "answer",
    [
        {"content": [text("no")], "isError": True},
        b'"error":{"code":-32603,"message":"Oh no"}',
        (500, b""),
        {"content": "x"},
    ],
)
async def test_what_is_no_answer_is_free(far: Far, answer: object) -> None:
    far.upstream.answer = answer
    assert (await far.post(message("far.odd"))).json()["result"]["isError"] is True
    await far.services.proxy.close()
    async with asyncio.timeout(60):
        while (await far.wallet())[1]:
            await asyncio.sleep(0.01)
    assert await far.wallet() == (0, 0)


async def test_a_caller_who_leaves_pays_nothing_and_cancels_the_upstream(far: Far) -> None:
    leaving = asyncio.create_task(far.post(message("far.wait")))
    async with asyncio.timeout(60):
        await far.upstream.is_waiting.wait()
        assert far.carried == ["far.wait"]
        leaving.cancel()
        await far.upstream.has_left.wait()
        while await far.wallet() != (0, 0):
            await asyncio.sleep(0.01)
    assert await far.metered() == 0


async def test_a_refused_call_costs_nothing(far: Far) -> None:
    for arguments in ({}, {"text": 5}, {"text": "a", "more": 1}):
        answer = (await far.post(message(arguments=arguments))).json()
        assert answer["result"]["isError"] is True
    assert await far.wallet() == (0, 0)
    assert far.upstream.calls == []


async def test_a_key_without_the_scope_is_refused(far: Far) -> None:
    narrow = await person(far.services, "narrow@example.org", frozenset({Scope.BILLING}))
    answer = (await far.post(message(), who=narrow)).json()
    assert answer["result"]["structuredContent"]["code"] == "forbidden"
    assert far.carried == []


async def test_a_tool_that_is_switched_off_is_off_at_once(far: Far) -> None:
    await far.post(message())
    async with far.world.database.begin(SERVICE) as uow:
        await far.services.registry.disable(uow, "far.echo")
        await far.services.registry.refresh(uow)
    answer = (await far.post(message())).json()
    assert answer["result"]["structuredContent"]["code"] == "tool_disabled"
    assert len(far.upstream.calls) == 1


async def test_many_callers_at_once(far: Far) -> None:
    people = [far.world.alice, far.world.bob]
    asked = [far.post(message(request_id=n), who=people[n % 2]) for n in range(60)]
    answers = [one.json() for one in await asyncio.gather(*asked)]
    assert [one["id"] for one in answers] == list(range(60))
    assert all(one["result"]["_meta"]["uaol/charged_micro"] == PRICE for one in answers)
    async with asyncio.timeout(60):
        for who in people:
            while await far.wallet(who) != (30 * PRICE, 0):
                await asyncio.sleep(0.02)
    await assert_balanced(far.world.database)


async def test_the_limit_of_calls_holds(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = far.services.proxy
    monkeypatch.setattr(proxy, "_settings", far.services.settings.model_copy(
        update={"calls_per_minute": 2}))  # fmt: skip
    answers = [(await far.post(message())).json()["result"] for _ in range(3)]
    assert [one["isError"] for one in answers] == [False, False, True]
    assert answers[2]["structuredContent"]["code"] == "rate_limited"
    assert len(far.upstream.calls) == 2


async def test_an_answer_has_a_request_id(far: Far) -> None:
    response = await far.post(message(), headers=[("x-request-id", "mine-1")])
    assert response.headers["x-request-id"] == "mine-1"
    assert (await far.post(message())).headers["x-request-id"]


@pytest.mark.parametrize("is_slow", [False, True], ids=["fast", "sdk"])
async def test_a_server_that_fails_is_left_alone_at_no_cost(
    far: Far, monkeypatch: pytest.MonkeyPatch, *, is_slow: bool
) -> None:
    # The server is tried again after two seconds: none pass here.
    monkeypatch.setattr(far.services.proxy.breakers, "_clock", ManualClock())
    far.upstream.answer = (500, b"")
    for _ in range(5):
        answer = (await far.post(message("far.odd"), is_slow=is_slow)).json()["result"]
        assert "HTTP 500" in answer["structuredContent"]["message"]
    far.upstream.answer = None
    # Whichever way the next one takes.
    for way in (False, True):
        answer = (await far.post(message("far.odd"), is_slow=way)).json()["result"]
        assert answer["structuredContent"]["code"] == "tool_server_down"
        assert answer["structuredContent"]["details"]["retry_after_s"] > 0
    assert len(far.upstream.calls) == 5
    async with asyncio.timeout(60):
        while await far.wallet() != (0, 0):
            await asyncio.sleep(0.01)


async def test_a_fault_of_the_fast_way_itself_is_told_as_any_other(
    far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise ValueError("broken")

    with monkeypatch.context() as patched:
        patched.setattr(FastPath, "handle", broken)
        answer = await far.post(message())
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert answer.json()["details"]["event_id"]
    assert (await far.post(message())).status_code == 200
