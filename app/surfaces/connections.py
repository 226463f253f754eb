"""What users do with connections to servers that have OAuth of their own."""

from datetime import datetime
from typing import Literal, Self
from uuid import UUID

from pydantic import Field

from app.kernel.principal import Principal, Scope
from app.proxy import Connection, Consent, OAuthFlows
from app.surfaces.context import Access
from app.surfaces.secrets import safe_of
from app.surfaces.services import Services
from app.surfaces.views import View


class ConnectionOut(View):
    """A connection without its tokens."""

    server: str
    origin: str
    issuer: str = Field(description="The authorization server that gave the tokens.")
    status: Literal["connected", "broken"] = Field(description="`broken`: connect it again.")
    scopes: list[str]
    wanted_scopes: list[str] = Field(description="What the server asked for beyond them.")
    expires_at: datetime | None = Field(description="Of the token; it is renewed by itself.")
    connected_at: datetime
    refreshed_at: datetime

    @classmethod
    def of(cls, connection: Connection) -> Self:
        """The view of a connection."""
        return cls.model_validate(connection)


class ConnectionsOut(View):
    """All connections of a user, by server."""

    connections: list[ConnectionOut]


class Connecting:
    """Connections of the principal, and the steps of making one in a browser."""

    def __init__(self, services: Services, access: Access) -> None:
        self._services = services
        self._access = access

    @property
    def flows(self) -> OAuthFlows:
        """The steps themselves."""
        return safe_of(self._services).flows

    async def begin(self, key: str, slug: str) -> Consent:
        """Find the authorization server, for the user whose API key it is."""
        principal = await self._access.authenticate(f"Bearer {key}")
        principal.require(Scope.KEYS)
        return await self.flows.begin(principal, slug)

    async def approve(self, slug: str, flow_id: UUID, browser: str) -> str:
        """The address the browser goes to after the user's consent."""
        return await self.flows.approve(slug, flow_id, browser)

    async def list(self, principal: Principal) -> ConnectionsOut:
        """The principal's connections."""
        principal.require(Scope.KEYS)
        found = await safe_of(self._services).connections.list(principal)
        return ConnectionsOut(connections=[ConnectionOut.of(one) for one in found])

    async def disconnect(self, principal: Principal, slug: str) -> None:
        """Forget a connection and its tokens."""
        principal.require(Scope.KEYS)
        await safe_of(self._services).connections.disconnect(principal, slug)
