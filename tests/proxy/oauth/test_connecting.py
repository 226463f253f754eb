"""Connecting a server: the way through discovery, consent and codes, and every wrong turn of it."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response

from app.kernel.errors import AppError, Code
from app.kernel.principal import SERVICE
from app.proxy.credentials import RemoteServer
from app.proxy.oauth import Web
from app.proxy.oauth.discovery import discover
from app.registry import UpstreamOAuth
from tests.proxy.oauth.conftest import HOME, SLUG, Connected

pytestmark = pytest.mark.anyio

METADATA = "/.well-known/oauth-authorization-server"
RESOURCE = "/.well-known/oauth-protected-resource/mcp"


async def fails(world: Connected, code: Code = Code.OAUTH_FAILED) -> AppError:
    with pytest.raises(AppError) as caught:
        await world.connect()
    assert caught.value.code is code, caught.value.message
    return caught.value


async def count(world: Connected, table: str) -> int:
    async with world.database.begin(SERVICE) as uow:
        return int((await uow.execute(f"select count(*) from app.{table}")).scalar_one())


async def test_a_connection_from_its_beginning_to_a_call(world: Connected) -> None:
    with pytest.raises(AppError) as caught:
        await world.header()
    assert caught.value.code is Code.CONNECTION_REQUIRED
    assert caught.value.details["connect_url"] == f"{HOME}/v1/oauth/connect/{SLUG}"
    assert caught.value.details["connect_url"] in str(caught.value.hint)
    await world.connect()
    assert world.server.check(await world.header()) == (200, None)
    (shown,) = await world.here.connections.list(world.alice)
    assert (shown.server, shown.issuer, shown.status) == (SLUG, world.auth.url, "connected")
    assert await world.here.connections.list(world.bob) == []
    assert await count(world, "oauth_flow") == 0


async def test_what_the_browser_is_sent_with(world: Connected) -> None:
    consent = await world.here.flows.begin(world.alice, SLUG)
    assert (consent.issuer, consent.origin) == (world.auth.url, world.server.url[: -len("/mcp")])
    url = await world.here.flows.approve(SLUG, consent.flow_id, consent.browser)
    query = parse_qs(urlsplit(url).query)
    assert query["resource"] == [world.server.url]
    assert query["code_challenge_method"] == ["S256"]
    assert query["redirect_uri"] == [f"{HOME}/v1/oauth/callback"]
    # What the challenge asks for, and what makes a refresh token likely.
    assert query["scope"] == ["read offline_access"]
    assert len(query["state"][0]) >= 43


async def test_every_token_request_names_the_resource(world: Connected) -> None:
    await world.connect()
    world.clock.advance(3600)
    await world.header()
    forms = [form for path, form in world.auth.asked if path == "/token"]
    assert [form["resource"] for form in forms] == [world.server.url] * 2


async def test_two_users_have_two_connections_and_two_clients(world: Connected) -> None:
    await world.connect(world.alice)
    await world.connect(world.bob)
    assert await world.header(world.alice) != await world.header(world.bob)
    assert len(world.auth.clients) == 2


async def test_connecting_again_uses_the_same_client(world: Connected) -> None:
    await world.connect()
    first = await world.header()
    await world.connect()
    assert await world.header() != first
    assert len(world.auth.clients) == 1


@pytest.mark.parametrize("methods", [["client_secret_basic"], ["client_secret_post"]])
async def test_a_client_with_a_secret_proves_itself(world: Connected, methods: list[str]) -> None:
    world.auth.methods = methods
    await world.connect()
    world.clock.advance(3600)
    assert world.server.check(await world.header()) == (200, None)


async def test_a_client_made_by_hand_is_taken_first(world: Connected) -> None:
    world.auth.clients["by-hand"] = {
        "redirect_uris": [f"{HOME}/v1/oauth/callback"],
        "client_secret": "known to both",
    }
    oauth = UpstreamOAuth(("write",), "by-hand", "known to both")
    world.upstreams[SLUG] = RemoteServer(SLUG, world.server.url, oauth=oauth)
    await world.connect()
    assert list(world.auth.clients) == ["by-hand"]
    assert world.server.check(await world.header(), "write") == (200, None)


async def test_without_any_way_to_become_a_client_it_says_so(world: Connected) -> None:
    world.auth.has_dcr = False
    assert "client_id" in (await fails(world)).message


async def test_a_server_without_challenge_is_found_by_its_well_known_address(
    world: Connected,
) -> None:
    world.server.challenge = 'Basic realm="x"'
    await world.connect()
    assert world.server.check(await world.header()) == (200, None)


async def test_a_state_is_good_once(world: Connected) -> None:
    flows = world.here.flows
    consent = await flows.begin(world.alice, SLUG)
    url = await flows.approve(SLUG, consent.flow_id, consent.browser)
    answer = await world.visit(url)
    await flows.finish(answer, consent.browser)
    with pytest.raises(AppError) as caught:
        await flows.finish(answer, consent.browser)
    assert caught.value.code is Code.LINK_INVALID
    assert world.auth.count("authorization_code") == 1


async def test_consent_comes_before_the_redirect_and_is_given_once(world: Connected) -> None:
    flows = world.here.flows
    consent = await flows.begin(world.alice, SLUG)
    for slug, browser in ((SLUG, "another browser"), ("other", consent.browser)):
        with pytest.raises(AppError) as caught:
            await flows.approve(slug, consent.flow_id, browser)
        assert caught.value.code is Code.LINK_INVALID
    await flows.approve(SLUG, consent.flow_id, consent.browser)
    with pytest.raises(AppError):
        await flows.approve(SLUG, consent.flow_id, consent.browser)


async def test_an_answer_in_another_browser_connects_nobody(world: Connected) -> None:
    """Somebody sends the address of their own flow to another, who signs in."""
    flows = world.here.flows
    consent = await flows.begin(world.bob, SLUG)
    url = await flows.approve(SLUG, consent.flow_id, consent.browser)
    with pytest.raises(AppError) as caught:
        await flows.finish(await world.visit(url), "the victim's browser")
    assert caught.value.code is Code.LINK_INVALID
    assert await count(world, "oauth_connection") == 0
    assert world.auth.count("authorization_code") == 0


async def test_an_answer_without_consent_connects_nobody(world: Connected) -> None:
    flows = world.here.flows
    consent = await flows.begin(world.alice, SLUG)
    with pytest.raises(AppError) as caught:
        await flows.finish({"state": "guessed", "code": "x"}, consent.browser)
    assert caught.value.code is Code.LINK_INVALID


async def test_a_flow_ends_after_ten_minutes(world: Connected) -> None:
    flows = world.here.flows
    consent = await flows.begin(world.alice, SLUG)
    async with world.database.begin(SERVICE) as uow:
        await uow.execute("update app.oauth_flow set expires_at = now()")
    with pytest.raises(AppError):
        await flows.approve(SLUG, consent.flow_id, consent.browser)


@pytest.mark.parametrize(
    "iss", ["https://mallory.example", "", None], ids=["another", "empty", "left out"]
)
async def test_an_answer_of_another_issuer_is_refused(world: Connected, iss: str | None) -> None:
    def answers(given: dict[str, Any]) -> dict[str, Any]:
        changed = {key: value for key, value in given.items() if key != "iss"}
        return changed if iss is None or "code" not in given else changed | {"iss": iss}

    world.auth.answers = answers
    await fails(world, Code.LINK_INVALID)
    assert world.auth.count("authorization_code") == 0


async def test_an_issuer_that_is_never_sent_need_not_be_there(world: Connected) -> None:
    world.auth.sends_iss = False
    await world.connect()


async def test_a_user_who_says_no_gets_a_clear_answer(world: Connected) -> None:
    world.auth.answers = lambda given: (
        {"error": "access_denied", "state": given["state"], "iss": world.auth.url}
        if "code" in given
        else given
    )
    error = await fails(world)
    assert error.details == {"oauth_error": "access_denied"}


async def test_a_server_that_moves_meanwhile_gets_no_tokens(world: Connected) -> None:
    flows = world.here.flows
    consent = await flows.begin(world.alice, SLUG)
    url = await flows.approve(SLUG, consent.flow_id, consent.browser)
    answer = await world.visit(url)
    world.upstreams[SLUG] = RemoteServer(
        SLUG, "https://elsewhere.example/mcp", oauth=UpstreamOAuth()
    )
    with pytest.raises(AppError) as caught:
        await flows.finish(answer, consent.browser)
    assert caught.value.code is Code.LINK_INVALID
    assert world.auth.count("authorization_code") == 0


@pytest.mark.parametrize(
    "change",
    [
        {"issuer": "https://mallory.example"},
        {"issuer": None},
        {"code_challenge_methods_supported": ["plain"]},
        {"code_challenge_methods_supported": None},
        {"authorization_endpoint": None},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"token_endpoint": "file:///etc/passwd"},
        {"token_endpoint": 7},
        {"registration_endpoint": "https://user:pass@as.example/"},
    ],
)
async def test_metadata_that_cannot_be_right_is_refused(
    world: Connected, change: dict[str, Any]
) -> None:
    world.auth.metadata = lambda found: found | change
    await fails(world)
    assert world.auth.clients == {}


@pytest.mark.parametrize(
    "change",
    [
        {"resource": "https://mallory.example/mcp"},
        {"resource": None},
        {"authorization_servers": []},
        {"authorization_servers": [7]},
        {"authorization_servers": ["ftp://as.example"]},
        {"authorization_servers": None},
    ],
)
async def test_a_resource_that_is_another_is_refused(
    world: Connected, change: dict[str, Any]
) -> None:
    world.server.metadata = lambda found: found | change
    await fails(world)


@pytest.mark.parametrize("path", [METADATA, RESOURCE, "/register", "/token"])
@pytest.mark.parametrize(
    "fault",
    [
        Response(status_code=500),
        PlainTextResponse("<html>"),
        JSONResponse([1]),
        JSONResponse({}),
        RedirectResponse("http://169.254.169.254/latest/meta-data"),
        PlainTextResponse("x" * 100_000),
        Response(b"\x1f\x8b", headers={"content-encoding": "gzip"}),
    ],
    ids=["500", "html", "list", "empty", "redirect", "huge", "gzip"],
)
async def test_every_step_may_fail_and_nothing_is_left(
    world: Connected, path: str, fault: Response
) -> None:
    faults = world.server.faults if path == RESOURCE else world.auth.faults
    faults[path] = fault
    await fails(world)
    assert await count(world, "oauth_connection") == 0
    assert await count(world, "vault_secret") == 0
    faults.clear()
    await world.connect()


@pytest.mark.parametrize(
    "change",
    [
        {"token_type": "mac"},
        {"access_token": ""},
        {"access_token": "two\r\nlines"},
        {"access_token": 7},
        {"refresh_token": ["x"]},
    ],
)
async def test_tokens_that_are_none_are_not_stored(
    world: Connected, change: dict[str, Any]
) -> None:
    world.auth.answers = lambda given: given | (change if "token_type" in given else {})
    await fails(world)
    assert await count(world, "vault_secret") == 0


@pytest.mark.parametrize(
    "url",
    [
        "http://as.example/mcp",
        "https://127.0.0.1/mcp",
        "https://169.254.169.254/mcp",
        "https://[::ffff:10.0.0.1]/mcp",
        "https://2130706433/mcp",
        "https://user@as.example/mcp",
    ],
)
async def test_no_address_inside_is_reached(url: str) -> None:
    with pytest.raises(AppError) as caught:
        await discover(Web(), url)
    assert caught.value.code is Code.OAUTH_FAILED


async def test_what_a_server_names_is_guarded_as_well(world: Connected) -> None:
    """The server is let in by a test's setting; what it names must not be by that."""
    place = "http://[::1]:1/metadata"
    world.server.challenge = f'Bearer resource_metadata="{place}"'
    error = await fails(world)
    assert "cannot be reached" in error.message


async def test_a_forged_flow_row_opens_nothing(world: Connected) -> None:
    flows = world.here.flows
    consent = await flows.begin(world.alice, SLUG)
    async with world.database.begin(SERVICE) as uow:
        await uow.execute("update app.oauth_flow set user_id = :bob", {"bob": world.bob.owner})
    with pytest.raises(AppError) as caught:
        await flows.approve(SLUG, consent.flow_id, consent.browser)
    assert caught.value.code is Code.SECRET_UNREADABLE
