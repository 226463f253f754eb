"""Connecting a server in a browser: pages, cookies, forms of other sites, the whole way."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx2
import pytest

from app.kernel.clock import SystemClock
from app.main import create_app
from app.proxy.credentials import RemoteServer
from app.registry import UpstreamOAuth
from app.surfaces.listening import bind, listening, url_of
from app.surfaces.safe import identity_of, open_safe
from app.surfaces.services import Services
from tests.proxy.oauth.servers import McpServer, serving
from tests.surfaces.test_http_errors import assert_problem
from tests.surfaces.world import Person, World

pytestmark = pytest.mark.anyio

SLUG = "notes"


@dataclass
class Site:
    """The platform on a real address, a server with OAuth, and a browser."""

    url: str
    services: Services
    server: McpServer
    world: World
    browser: httpx2.AsyncClient

    @property
    def path(self) -> str:
        return f"/v1/oauth/connect/{SLUG}"

    async def begin(self, person: Person | None = None) -> str:
        """The page that asks for consent; gives the flow in its form."""
        form = {"key": (person or self.world.alice).key}
        page = await self.browser.post(self.path, data=form)
        assert page.status_code == 200, page.text
        found = re.search(r'name="flow" value="([0-9a-f-]{36})"', page.text)
        assert found is not None
        return found[1]

    async def approve(self, flow: str) -> httpx2.Response:
        return await self.browser.post(f"{self.path}/approve", data={"flow": flow})

    async def connections(self, person: Person) -> list[dict[str, object]]:
        answer = await self.browser.get("/v1/oauth/connections", headers=dict(person.headers))
        return list(answer.json()["connections"])


@pytest.fixture
async def site(world: World) -> AsyncIterator[Site]:
    sock = bind("127.0.0.1", 0)
    url = url_of(sock)
    settings = world.services.settings.model_copy(
        update={"public_url": url, "servers_allow_private": True}
    )
    async with serving() as server:
        upstreams = {SLUG: RemoteServer(SLUG, server.url, oauth=UpstreamOAuth())}
        safe = open_safe(
            settings, world.database, world.services.wakeups, SystemClock(), upstreams.get
        )
        services = Services(**{**vars(world.services), "settings": settings, "safe": safe})
        async with (
            listening(create_app(services), settings, sock),
            httpx2.AsyncClient(base_url=url, trust_env=False, timeout=60) as browser,
        ):
            yield Site(url, services, server, world, browser)
        await safe.web.close()


async def test_the_whole_way_round_in_a_browser(site: Site) -> None:
    first = await site.browser.get(site.path)
    assert first.status_code == 200
    assert 'type="password"' in first.text
    flow = await site.begin()
    leaving = await site.approve(flow)
    assert leaving.status_code == 303
    assert leaving.headers["location"].startswith(f"{site.server.auth.url}/authorize?")
    back = await site.browser.get(leaving.headers["location"])
    assert back.headers["location"].startswith(f"{site.url}/v1/oauth/callback?")
    done = await site.browser.get(back.headers["location"])
    assert done.status_code == 200
    assert "is connected" in done.text
    (shown,) = await site.connections(site.world.alice)
    assert (shown["server"], shown["status"]) == (SLUG, "connected")
    assert await site.connections(site.world.bob) == []
    again = await site.browser.get(back.headers["location"])
    assert (again.status_code, "link_invalid" in again.text) == (403, True)


async def test_the_client_is_a_document_that_the_other_side_fetched(site: Site) -> None:
    leaving = await site.approve(await site.begin())
    await site.browser.get(leaving.headers["location"])
    (client_id,) = site.server.auth.clients
    assert client_id == f"{site.url}/v1/oauth/client.json"
    document = (await site.browser.get(client_id)).json()
    assert document["client_id"] == client_id
    assert document["redirect_uris"] == [f"{site.url}/v1/oauth/callback"]
    assert document["token_endpoint_auth_method"] == "none"


async def test_consent_says_what_is_about_to_happen(site: Site) -> None:
    page = await site.browser.post(site.path, data={"key": site.world.alice.key})
    for told in (SLUG, urlsplit(site.server.auth.url).netloc, "read", "offline_access"):
        assert told in page.text
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert urlsplit(site.server.auth.url).netloc in policy
    cookie = page.headers["set-cookie"]
    for told in ("HttpOnly", "SameSite=lax", "Path=/v1/oauth"):
        assert told in cookie
    assert site.world.alice.key not in page.text
    assert site.server.auth.asked == []


async def test_a_key_that_is_none_connects_nobody(site: Site) -> None:
    for form in ({"key": "uaol_wrong"}, {"key": ""}, {}):
        page = await site.browser.post(site.path, data=form)
        assert (page.status_code, "unauthenticated" in page.text) == (401, True)
        assert "set-cookie" not in page.headers


async def test_a_flow_belongs_to_the_browser_it_began_in(site: Site) -> None:
    flow = await site.begin(site.world.bob)
    leaving = await site.approve(flow)
    back = await site.browser.get(leaving.headers["location"])
    async with httpx2.AsyncClient(base_url=site.url, trust_env=False, timeout=60) as victim:
        refused = await victim.get(back.headers["location"])
        assert (refused.status_code, "link_invalid" in refused.text) == (403, True)
    assert await site.connections(site.world.bob) == []


async def test_consent_in_another_browser_is_none(site: Site) -> None:
    flow = await site.begin()
    async with httpx2.AsyncClient(base_url=site.url, trust_env=False, timeout=60) as other:
        refused = await other.post(f"{site.path}/approve", data={"flow": flow})
        assert (refused.status_code, "link_invalid" in refused.text) == (403, True)


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://mallory.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
async def test_forms_of_other_sites_are_refused(site: Site, headers: dict[str, str]) -> None:
    form = {"key": site.world.alice.key}
    page = await site.browser.post(site.path, data=form, headers=headers)
    assert (page.status_code, "forbidden" in page.text) == (403, True)
    flow = await site.begin()
    page = await site.browser.post(f"{site.path}/approve", data={"flow": flow}, headers=headers)
    assert page.status_code == 403


async def test_its_own_form_is_taken(site: Site) -> None:
    headers = {"origin": site.url, "sec-fetch-site": "same-origin"}
    form = {"key": site.world.alice.key}
    page = await site.browser.post(site.path, data=form, headers=headers)
    assert page.status_code == 200


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/v1/oauth/callback", ""),
        ("/v1/oauth/callback", "?state=x&code=y"),
        ("/v1/oauth/callback", "?state=x&state=y&code=z"),
        ("/v1/oauth/callback", "?error=access_denied&error_description=<script>alert(1)</script>"),
        ("/v1/oauth/connect/nobody", ""),
        ("/v1/oauth/connect/<script>", ""),
    ],
)
async def test_what_leads_nowhere_is_a_page_without_script(
    site: Site, path: str, query: str
) -> None:
    page = await site.browser.get(path + query)
    assert 400 <= page.status_code < 500
    assert page.headers["content-type"].startswith("text/html")
    assert "<script" not in page.text


@pytest.mark.parametrize(
    "content", [b"flow=x", b"flow=\xff", b"x" * 20_000, b"flow=a&flow=b", b"&".join([b"a=b"] * 20)]
)
async def test_forms_that_cannot_be_read_are_refused(site: Site, content: bytes) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    page = await site.browser.post(f"{site.path}/approve", content=content, headers=headers)
    assert 400 <= page.status_code < 500
    assert page.headers["content-type"].startswith("text/html")


async def test_a_connection_can_be_ended(site: Site) -> None:
    leaving = await site.approve(await site.begin())
    back = await site.browser.get(leaving.headers["location"])
    await site.browser.get(back.headers["location"])
    path, alice = f"/v1/oauth/connections/{SLUG}", dict(site.world.alice.headers)
    bob = await site.browser.delete(path, headers=dict(site.world.bob.headers))
    assert_problem(bob, 404, "not_found")
    assert (await site.browser.delete(path, headers=alice)).status_code == 204
    assert_problem(await site.browser.delete(path, headers=alice), 404, "not_found")
    assert await site.connections(site.world.alice) == []


def test_without_https_there_is_no_document() -> None:
    plain = identity_of("http://127.0.0.1:8765", allow_private=False)
    assert plain.client_id is None
    assert plain.redirect_uri == "http://127.0.0.1:8765/v1/oauth/callback"
    secure = identity_of("https://uaol.example", allow_private=False)
    assert secure.client_id == "https://uaol.example/v1/oauth/client.json"
