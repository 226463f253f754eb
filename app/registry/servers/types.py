"""Registered servers as values: their address, what their developer offers, where they stand."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from app.registry.arguments import SecretArgument
from app.registry.needs import SecretHeader, SecretScope, UpstreamOAuth, from_server_json
from app.registry.types import Deprecation, Prices, ServerConfig

ServerStatus = Literal["Draft", "Pending", "Approved", "Disabled"]
Transport = Literal["streamable-http", "sse"]
Era = Literal["auto", "modern", "legacy"]


@dataclass(frozen=True, slots=True)
class ToolOffer:
    """What sets one tool apart; None is the server's own value."""

    price_micro: int | None = None
    timeout_s: float | None = None
    calls_per_minute: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """The JSON form, without what is not said."""
        found = {
            "price_micro": self.price_micro,
            "timeout_s": self.timeout_s,
            "calls_per_minute": self.calls_per_minute,
        }
        return {key: value for key, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Offer:
    """On which terms a server's tools may be called: price in micro-credits, time, calls a minute.

    It may change without a new version; what was quoted before keeps its price.
    """

    price_micro: int = 0
    timeout_s: float | None = None
    calls_per_minute: int | None = None
    tools: Mapping[str, ToolOffer] = field(default_factory=dict)

    @property
    def prices(self) -> Prices:
        """The prices, as configured servers give them."""
        set_apart = {
            name: tool.price_micro
            for name, tool in self.tools.items()
            if tool.price_micro is not None
        }
        return Prices(self.price_micro, set_apart)

    def as_dict(self) -> dict[str, Any]:
        """The JSON form that is stored and shown."""
        return {
            "price_micro": self.price_micro,
            "timeout_s": self.timeout_s,
            "calls_per_minute": self.calls_per_minute,
            "tools": {name: tool.as_dict() for name, tool in self.tools.items()},
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "Offer":
        """The offer that `as_dict` gave."""
        tools = {name: ToolOffer(**tool) for name, tool in raw["tools"].items()}
        return cls(raw["price_micro"], raw["timeout_s"], raw["calls_per_minute"], tools)


@dataclass(frozen=True, slots=True)
class Setup:
    """What a developer adds to a server.json: values for its variables and plain headers (by
    name), the protocol era, whose secrets fill its secret headers, OAuth of its users, and the
    arguments of tools that are filled from secrets too.
    """

    values: Mapping[str, str] = field(default_factory=dict)
    era: Era = "auto"
    secret_scope: SecretScope = "user"
    oauth: UpstreamOAuth | None = None
    secret_arguments: tuple[SecretArgument, ...] = ()


@dataclass(frozen=True, slots=True)
class Address:
    """How a server is reached: its URL, fixed headers, and the headers that carry secrets.

    Of headers that carry secrets the entries of server.json are kept, which hold no value of one.
    """

    url: str
    transport: Transport = "streamable-http"
    era: Era = "auto"
    headers: Mapping[str, str] = field(default_factory=dict)
    secrets: tuple[Mapping[str, Any], ...] = ()
    secret_scope: SecretScope = "user"
    oauth: UpstreamOAuth | None = None
    secret_arguments: tuple[SecretArgument, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The JSON form that is stored."""
        return {
            "url": self.url,
            "transport": self.transport,
            "era": self.era,
            "headers": dict(self.headers),
            "secrets": [dict(entry) for entry in self.secrets],
            "secret_scope": self.secret_scope,
            "oauth": None if self.oauth is None else _oauth_dict(self.oauth),
            "secret_arguments": [each.as_dict() for each in self.secret_arguments],
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "Address":
        """The address that `as_dict` gave."""
        return cls(
            raw["url"],
            raw["transport"],
            raw["era"],
            raw["headers"],
            tuple(raw["secrets"]),
            raw["secret_scope"],
            None if raw["oauth"] is None else _oauth(raw["oauth"]),
            tuple(SecretArgument(**each) for each in raw.get("secret_arguments", ())),
        )

    @property
    def needs(self) -> tuple[SecretHeader, ...]:
        """The headers to fill from secrets."""
        return from_server_json(self.secrets, self.secret_scope)


def _oauth_dict(oauth: UpstreamOAuth) -> dict[str, Any]:
    # A client's secret is no part of an offer; one registered by hand goes into the vault.
    return {"scopes": list(oauth.scopes), "client_id": oauth.client_id}


def _oauth(raw: Mapping[str, Any]) -> UpstreamOAuth:
    return UpstreamOAuth(tuple(raw["scopes"]), raw["client_id"])


@dataclass(frozen=True, slots=True)
class RegisteredServer:
    """A server with an approved version, as the proxy needs it; secrets are never here."""

    server_id: UUID
    slug: str
    name: str
    developer_id: UUID
    status: ServerStatus
    version: str
    address: Address
    offer: Offer
    deprecated: Deprecation | None = None

    @property
    def gateway_url(self) -> str:
        """Where its MCP endpoint is."""
        return self.address.url

    @property
    def transport(self) -> Transport:
        """Which HTTP transport it speaks."""
        return self.address.transport

    @property
    def secrets(self) -> tuple[SecretHeader, ...]:
        """The headers that are filled from secrets."""
        return self.address.needs

    @property
    def secret_arguments(self) -> tuple[SecretArgument, ...]:
        """The arguments of its tools that are filled from secrets."""
        return self.address.secret_arguments

    @property
    def oauth(self) -> UpstreamOAuth | None:
        """How its users connect their own accounts, if they do."""
        return self.address.oauth

    @property
    def timeout_s(self) -> float | None:
        """The time limit of its calls, where it has one of its own."""
        return self.offer.timeout_s

    @property
    def calls_per_minute(self) -> int | None:
        """How many calls it takes a minute, over all its tools."""
        return self.offer.calls_per_minute

    def config(self) -> ServerConfig:
        """The server as the backends take it."""
        return config_of(self.slug, self.address, self.offer, self.developer_id)


def config_of(
    slug: str, address: Address, offer: Offer, developer_id: UUID | None = None
) -> ServerConfig:
    """A registered server in the form of configured ones: never trusted, always guarded."""
    return ServerConfig(
        name=slug,
        url=address.url,
        headers=address.headers,
        prices=offer.prices,
        timeout_s=offer.timeout_s,
        tool_timeouts={
            name: tool.timeout_s for name, tool in offer.tools.items() if tool.timeout_s is not None
        },
        tool_rates={
            name: tool.calls_per_minute
            for name, tool in offer.tools.items()
            if tool.calls_per_minute is not None
        },
        transport=address.transport,
        is_guarded=True,
        era=address.era,
        secrets=address.needs,
        secret_arguments=address.secret_arguments,
        oauth=address.oauth,
        developer_id=developer_id,
    )


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a server: what was sent in, and what its server offered at that time.

    Nothing of it changes once it was submitted, but for what was decided about it.
    """

    server_id: UUID
    number: int
    version: str
    status: ServerStatus
    document: Mapping[str, Any]
    address: Address
    definitions: tuple[Mapping[str, Any], ...]
    findings: tuple[Mapping[str, Any], ...]
    reason: str | None
    created_at: datetime
    submitted_at: datetime | None
    approved_at: datetime | None


@dataclass(frozen=True, slots=True)
class Server:
    """A server's row: who registered it and where it stands."""

    server_id: UUID
    slug: str
    name: str
    developer_id: UUID
    status: ServerStatus
    offer: Offer
    latest_version: int
    approved_version: int | None
    deprecated: Deprecation | None
    reason: str | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Published:
    """An approved version as the read-only registry shows it."""

    slug: str
    name: str
    number: int
    version: str
    document: Mapping[str, Any]
    is_latest: bool
    deprecated: Deprecation | None
    published_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a developer is told about a server or tool of theirs."""

    notice_id: UUID
    slug: str
    kind: str
    subject: str
    details: Mapping[str, Any]
    created_at: datetime
