"""All that has to do with credentials for servers, made once by the wiring and handed in whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.kernel.clock import Clock
from app.kernel.settings import Settings
from app.kernel.uow import Transactions
from app.kernel.wakeups import Wakeups
from app.proxy import (
    FindServer,
    Identity,
    OAuthConnections,
    OAuthFlows,
    RemoteServer,
    ServerCredentials,
    Web,
)
from app.registry import RegisteredServer, Registry, ServerConfig
from app.vault import KeyBackend, SecretKeeper, Vault, make_keys

CONNECT_PATH = "/v1/oauth/connect"
CALLBACK_PATH = "/v1/oauth/callback"
CLIENT_PATH = "/v1/oauth/client.json"


@dataclass(frozen=True)
class Safe:
    """Secrets, connections, and what of both goes along with a call."""

    keeper: SecretKeeper
    credentials: ServerCredentials
    connections: OAuthConnections
    flows: OAuthFlows
    find: FindServer
    web: Web

    @property
    def vault(self) -> Vault:
        """The vault itself."""
        return self.keeper.vault


def open_safe(
    settings: Settings,
    transactions: Transactions,
    wakeups: Wakeups,
    clock: Clock,
    find: FindServer,
    keys: KeyBackend | None = None,
) -> Safe:
    """Construct all of it; nothing is reached before it is used."""
    keeper = SecretKeeper(Vault(keys or make_keys(settings), clock, wakeups), transactions)
    web = Web(allow_private=settings.servers_allow_private)
    base = base_url(settings)
    connections = OAuthConnections(
        keeper, transactions, wakeups, clock, web, lambda slug: f"{base}{CONNECT_PATH}/{slug}"
    )
    identity = identity_of(base, allow_private=settings.servers_allow_private)
    return Safe(
        keeper=keeper,
        credentials=ServerCredentials(find, keeper, wakeups, clock, connections),
        connections=connections,
        flows=OAuthFlows(find, keeper, transactions, clock, web, identity),
        find=find,
        web=web,
    )


def base_url(settings: Settings) -> str:
    """The platform's own address, never taken from a request: a Host header is anybody's."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return (settings.public_url or f"http://{host}:{settings.port}").rstrip("/")


def identity_of(base: str, *, allow_private: bool) -> Identity:
    """What the platform is to authorization servers, which fetch documents by https only."""
    has_document = allow_private or base.startswith("https://")
    return Identity(f"{base}{CLIENT_PATH}" if has_document else None, f"{base}{CALLBACK_PATH}")


def finder(registry: Registry, servers: Sequence[ServerConfig]) -> FindServer:
    """Remote servers by their slugs: the configured ones, then those of the registry."""
    configured = {
        server.name: RemoteServer(
            server.name,
            server.url,
            server.secrets,
            server.oauth,
            server.developer_id,
            _has_authorization(server.headers),
            server.secret_arguments,
        )
        for server in servers
        if server.url is not None and server.is_enabled
    }
    known: dict[str, tuple[RegisteredServer, RemoteServer]] = {}

    def find(slug: str) -> RemoteServer | None:
        if (fixed := configured.get(slug)) is not None:
            return fixed
        server = registry.snapshot().server(slug)
        if server is None:
            return None
        kept = known.get(slug)
        # The registry gives the same object until something of the server changes.
        if kept is None or kept[0] is not server:
            made = RemoteServer(
                slug,
                server.gateway_url,
                server.secrets,
                server.oauth,
                server.developer_id,
                _has_authorization(server.address.headers),
                server.secret_arguments,
            )
            kept = known[slug] = (server, made)
        return kept[1]

    return find


def _has_authorization(headers: Mapping[str, str]) -> bool:
    return any(name.lower() == "authorization" for name in headers)
