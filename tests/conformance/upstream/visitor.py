"""This platform as the client of one server: its wire, its credentials, its connections by OAuth.

What a person would do in a browser is done here: agree, sign in, come back with the answer.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx2
import orjson

from app.kernel.clock import SystemClock
from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal
from app.proxy import Identity, OAuthConnections, OAuthFlows, RemoteServer, ServerCredentials, Web
from app.proxy.carrying import carry
from app.proxy.wire import HttpWire, Target
from app.registry import UpstreamOAuth
from tests.conformance.upstream.answering import Scenario

# What the suite takes this client to be.
_IDENTITY = Identity(
    "https://conformance-test.local/client-metadata.json", "http://localhost:3000/callback"
)
_ATTEMPTS = 3
_TIMEOUT_S = 20.0


def _registration(scenario: Scenario) -> UpstreamOAuth | None:
    """What an operator has who registered the platform with the server by hand."""
    given = scenario.context
    if "client_id" not in given:
        return None
    return UpstreamOAuth(client_id=given["client_id"], client_secret=given.get("client_secret"))


class Visitor:
    """One user of the platform at the server of one scenario."""

    def __init__(self, services: Any, principal: Principal, slug: str, scenario: Scenario) -> None:
        clock, keeper = SystemClock(), services.safe.keeper
        self._server = RemoteServer(slug, scenario.url, oauth=_registration(scenario))
        self._web = Web(allow_private=True)
        self._flows = OAuthFlows(self._find, keeper, services.database, clock, self._web, _IDENTITY)
        connections = OAuthConnections(
            keeper, services.database, services.wakeups, clock, self._web, lambda name: name
        )
        self._credentials = ServerCredentials(
            self._find, keeper, services.wakeups, clock, connections
        )
        self._wire = HttpWire()
        self._target = Target(slug, scenario.url, allow_private=True)
        self._principal = principal
        self.url = scenario.url

    def _find(self, slug: str) -> RemoteServer | None:
        return self._server if slug == self._server.slug else None

    async def request(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        name: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """The server's result; connects the user's account when that is asked for."""
        for attempt in range(_ATTEMPTS):
            try:
                return await self._request(method, params or {}, name, headers or {})
            except AppError as error:
                if error.code is not Code.CONNECTION_REQUIRED or attempt == _ATTEMPTS - 1:
                    raise
            await self._connect()
        raise AssertionError("unreachable")

    async def _request(
        self, method: str, params: Mapping[str, Any], name: str | None, headers: Mapping[str, str]
    ) -> dict[str, Any]:
        answer = await carry(
            self._wire,
            self._target,
            self._credentials,
            self._principal,
            method,
            orjson.dumps(params),
            name=name,
            timeout_s=_TIMEOUT_S,
            headers=headers,
        )
        assert answer.body is not None, answer.error
        return dict(orjson.loads(answer.body))

    async def _connect(self) -> None:
        slug = self._server.slug
        consent = await self._flows.begin(self._principal, slug)
        address = await self._flows.approve(slug, consent.flow_id, consent.browser)
        async with httpx2.AsyncClient(follow_redirects=False) as browser:
            sent_back = (await browser.get(address)).headers["location"]
        answer = dict(parse_qsl(urlsplit(sent_back).query))
        await self._flows.finish(answer, consent.browser)

    async def close(self) -> None:
        """End all connections."""
        await self._wire.close()
        await self._web.close()
