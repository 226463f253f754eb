"""What OAuth speaks of: a protected resource, its authorization server, a client, tokens."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple
from uuid import UUID

ClientMethod = Literal["none", "client_secret_basic", "client_secret_post"]
CLIENT_METHODS: tuple[ClientMethod, ...] = ("none", "client_secret_basic", "client_secret_post")


class ProtectedResource(NamedTuple):
    """A server as it describes itself (RFC 9728); `scopes` are those it asks for."""

    resource: str
    issuer: str
    scopes: tuple[str, ...]


class AuthServer(NamedTuple):
    """An authorization server's metadata (RFC 8414), as far as it is used."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    registration_endpoint: str | None
    revocation_endpoint: str | None
    scopes: tuple[str, ...]
    methods: tuple[str, ...]
    takes_metadata_documents: bool
    sends_issuer: bool


class Identity(NamedTuple):
    """What this platform is to authorization servers; `client_id` is a metadata document's URL.

    Without one (the platform has no https address of its own) clients are registered instead.
    """

    client_id: str | None
    redirect_uri: str
    name: str = "UAOL"


@dataclass(frozen=True, slots=True)
class Client:
    """This platform at one authorization server."""

    client_id: str
    method: ClientMethod = "none"
    client_secret: str | None = field(default=None, repr=False)
    is_registered: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The JSON form that is sealed."""
        return {
            "client_id": self.client_id,
            "method": self.method,
            "client_secret": self.client_secret,
            "is_registered": self.is_registered,
        }


class Tokens(NamedTuple):
    """An answer of a token endpoint (RFC 6749, section 5.1)."""

    access: str
    refresh: str | None
    expires_at: datetime | None
    scopes: tuple[str, ...] | None


class Grant(NamedTuple):
    """All that a connection needs to get its next token."""

    issuer: str
    resource: str
    redirect_uri: str
    token_endpoint: str
    revocation_endpoint: str | None
    client: Client


class Consent(NamedTuple):
    """What a user is asked before the browser leaves; `browser` is the cookie that binds it."""

    flow_id: UUID
    browser: str
    server: str
    origin: str
    issuer: str
    authorization_host: str
    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Connection:
    """What is shown of a connection: never a token."""

    server: str
    origin: str
    issuer: str
    status: Literal["connected", "broken"]
    scopes: tuple[str, ...]
    wanted_scopes: tuple[str, ...]
    expires_at: datetime | None
    connected_at: datetime
    refreshed_at: datetime
