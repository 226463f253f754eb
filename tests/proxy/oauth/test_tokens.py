"""Tokens over time: renewed by one at a time, given up when refused, more consent when needed."""

import asyncio

import pytest
from fastapi.responses import JSONResponse, Response

from app.kernel.errors import AppError, Code
from app.kernel.principal import SERVICE
from app.proxy.credentials import Injection, RemoteServer
from app.registry import UpstreamOAuth
from tests.proxy.oauth.conftest import SLUG, Connected, Process

pytestmark = pytest.mark.anyio


async def refused(
    world: Connected, sent: str, status: int = 401, challenge: str | None = None
) -> AppError | None:
    injection = Injection({"Authorization": sent})
    return await world.here.credentials.refused(world.alice, SLUG, status, challenge, injection)


async def status(world: Connected) -> str:
    (shown,) = await world.here.connections.list(world.alice)
    return shown.status


async def test_a_token_is_renewed_before_its_end_and_rotates(world: Connected) -> None:
    await world.connect()
    first = await world.header()
    assert await world.header() == first
    world.clock.advance(3600 - 20)
    second = await world.header()
    assert second != first
    assert world.server.check(second) == (200, None)
    world.clock.advance(3600)
    assert await world.header() not in (first, second)
    assert world.auth.count("refresh_token") == 2


async def test_a_refresh_token_that_stays_is_used_again(world: Connected) -> None:
    world.auth.rotates = False
    await world.connect()
    for _ in range(2):
        world.clock.advance(3600)
        assert world.server.check(await world.header()) == (200, None)
    assert world.auth.count("refresh_token") == 2


async def test_of_many_calls_in_many_processes_one_renews(world: Connected) -> None:
    await world.connect()
    world.clock.advance(3600)

    async def header(process: Process) -> str:
        return (await process.credentials.headers(world.alice, SLUG))["Authorization"]

    calls = [header(process) for process in (world.here, world.there) for _ in range(5)]
    found = set(await asyncio.gather(*calls))
    assert len(found) == 1
    assert world.auth.count("refresh_token") == 1
    assert world.server.check(found.pop()) == (200, None)


async def test_a_caller_that_goes_away_loses_no_refresh_token(world: Connected) -> None:
    await world.connect()
    world.clock.advance(3600)
    call = asyncio.create_task(world.header())
    while world.auth.count("refresh_token") == 0:
        await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert world.server.check(await world.header()) == (200, None)
    assert world.auth.count("refresh_token") == 1


async def test_a_refresh_token_that_is_refused_asks_to_connect_again(world: Connected) -> None:
    await world.connect()
    for issued in world.auth.refresh.values():
        issued.is_live = False
    world.clock.advance(3600)
    for _ in range(2):
        with pytest.raises(AppError) as caught:
            await world.header()
        assert caught.value.code is Code.CONNECTION_REQUIRED
    assert world.auth.count("refresh_token") == 1
    assert await status(world) == "broken"
    await world.connect()
    assert world.server.check(await world.header()) == (200, None)


@pytest.mark.parametrize(
    "fault", [Response(status_code=503), JSONResponse({"error": "temporarily_unavailable"}, 400)]
)
async def test_a_server_that_fails_for_now_breaks_nothing(
    world: Connected, fault: Response
) -> None:
    await world.connect()
    world.clock.advance(3600)
    world.auth.faults["/token"] = fault
    with pytest.raises(AppError) as caught:
        await world.header()
    assert caught.value.code is Code.OAUTH_FAILED
    assert await status(world) == "connected"
    world.auth.faults.clear()
    assert world.server.check(await world.header()) == (200, None)


async def test_a_process_that_died_while_renewing_holds_nobody_up_for_long(
    world: Connected,
) -> None:
    await world.connect()
    world.clock.advance(3600)
    async with world.database.begin(SERVICE) as uow:
        await uow.execute(
            "update app.oauth_connection set refreshing_until = now() + interval '1 s'"
        )
    assert world.server.check(await world.header()) == (200, None)


async def test_without_an_end_a_token_is_good_until_it_is_refused(world: Connected) -> None:
    world.auth.expires_in = None
    await world.connect()
    first = await world.header()
    world.clock.advance(10 * 86_400)
    assert await world.header() == first
    assert await refused(world, first) is None
    second = await world.header()
    assert second != first
    assert world.server.check(second) == (200, None)


async def test_a_token_that_another_call_has_renewed_is_not_renewed_again(
    world: Connected,
) -> None:
    await world.connect()
    first = await world.header()
    world.clock.advance(60)
    assert await refused(world, first) is None
    assert await refused(world, first) is None
    assert world.auth.count("refresh_token") == 1


async def test_a_new_token_that_is_refused_at_once_ends_the_connection(world: Connected) -> None:
    await world.connect()
    first = await world.header()
    async with world.database.begin(SERVICE) as uow:
        values = {"now": world.clock.now()}
        await uow.execute("update app.oauth_connection set refreshed_at = :now", values)
    error = await refused(world, first)
    assert error is not None
    assert error.code is Code.CONNECTION_REQUIRED
    assert await status(world) == "broken"


async def test_more_consent_is_asked_for_what_is_missing(world: Connected) -> None:
    await world.connect()
    header = await world.header()
    code, challenge = world.server.check(header, "write")
    error = await refused(world, header, code, challenge)
    assert error is not None
    assert error.code is Code.CONNECTION_REQUIRED
    assert error.details["scopes"] == ["write"]
    await world.connect()
    again = await world.header()
    for scope in ("read", "write"):
        assert world.server.check(again, scope) == (200, None)


async def test_a_server_that_wants_what_it_has_leads_round_no_circle(world: Connected) -> None:
    await world.connect()
    header = await world.header()
    told = 'Bearer error="insufficient_scope", scope="read"'
    for challenge in (told, None, "Bearer error=", 'Bearer error="invalid_token"'):
        error = await refused(world, header, 403, challenge)
        assert error is not None
        assert error.code is Code.SECRET_REFUSED
    assert await status(world) == "connected"


async def test_tokens_stay_with_the_origin_they_were_given_for(world: Connected) -> None:
    await world.connect()
    await world.header()
    moved = RemoteServer(SLUG, "https://elsewhere.example/mcp", oauth=UpstreamOAuth())
    world.upstreams[SLUG] = moved
    with pytest.raises(AppError) as caught:
        await world.header()
    assert caught.value.code is Code.CONNECTION_REQUIRED


async def test_a_server_that_nobody_said_would_ask_is_learnt(world: Connected) -> None:
    world.upstreams[SLUG] = RemoteServer(SLUG, world.server.url)
    assert await world.here.credentials.headers(world.alice, SLUG) == {}
    code, challenge = world.server.check(None)
    error = await refused(world, "", code, challenge)
    assert error is not None
    assert error.code is Code.CONNECTION_REQUIRED
    await world.connect()
    header = await world.header()
    assert world.server.check(header) == (200, None)
    code, challenge = world.server.check(header, "write")
    stepped = await refused(world, header, code, challenge)
    assert stepped is not None
    assert stepped.details["scopes"] == ["write"]


@pytest.mark.parametrize("challenge", ["Bearer", 'Bearer realm="x"', None])
async def test_a_server_with_credentials_of_the_operators_asks_no_user(
    world: Connected, challenge: str | None
) -> None:
    world.upstreams[SLUG] = RemoteServer(SLUG, world.server.url, has_authorization=True)
    error = await refused(world, "", 401, challenge)
    assert error is not None
    assert error.code is Code.TOOL_SERVER_DOWN
    assert await world.here.credentials.headers(world.alice, SLUG) == {}


async def test_a_connection_that_is_ended_is_ended_on_both_sides(world: Connected) -> None:
    await world.connect()
    header = await world.header()
    await world.here.connections.disconnect(world.alice, SLUG)
    assert not any(issued.is_live for issued in world.auth.refresh.values())
    with pytest.raises(AppError) as caught:
        await world.header()
    assert caught.value.code is Code.CONNECTION_REQUIRED
    assert header
    with pytest.raises(AppError) as missing:
        await world.here.connections.disconnect(world.alice, SLUG)
    assert missing.value.code is Code.NOT_FOUND


async def test_it_ends_here_even_if_the_other_side_does_not_answer(world: Connected) -> None:
    await world.connect()
    world.auth.faults["/revoke"] = Response(status_code=500)
    await world.here.connections.disconnect(world.alice, SLUG)
    assert await world.here.connections.list(world.alice) == []


async def test_tokens_are_sealed_and_in_no_log(world: Connected) -> None:
    await world.connect()
    token = (await world.header()).removeprefix("Bearer ")
    async with world.database.begin(SERVICE) as uow:
        tables = ("vault_secret", "vault_sealed", "oauth_connection", "audit_log", "outbox")
        everything = [
            dict(row)
            for name in tables
            for row in (await uow.execute(f"select * from app.{name}")).mappings()
        ]
    assert token not in str(everything)
    assert not any(
        token.encode() in bytes(value)
        for row in everything
        for value in row.values()
        if isinstance(value, bytes | memoryview)
    )
