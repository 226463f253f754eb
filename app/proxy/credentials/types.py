"""The seams: what servers need, what is injected, where OAuth tokens come from."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID

from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal
from app.kernel.scrub import Scrubber
from app.registry import SecretArgument, SecretHeader, UpstreamOAuth

# How owners of credentials that serve all callers are named.
DEVELOPER = "developer:"


class RemoteServer(NamedTuple):
    """A remote server as far as credentials go.

    `has_authorization`: that header is fixed for all, and leaves no room for a user's token.
    """

    slug: str
    url: str
    secrets: tuple[SecretHeader, ...] = ()
    oauth: UpstreamOAuth | None = None
    developer_id: UUID | None = None
    has_authorization: bool = False
    arguments: tuple[SecretArgument, ...] = ()


FindServer = Callable[[str], RemoteServer | None]
"""The remote server of that slug, from memory; None for one that is no remote server."""


class Injection(dict[str, str]):
    """Headers to add for the server's own origin. `owner` names whose credentials they are.

    `arguments` are what tools' calls are filled with, by tool: a value, or why there is none.
    """

    def __init__(
        self,
        headers: Mapping[str, str] | None = None,
        scrubber: Scrubber | None = None,
        owner: str | None = None,
        arguments: Mapping[str, Mapping[str, str | AppError]] | None = None,
    ) -> None:
        super().__init__(headers or {})
        self.arguments = arguments or {}
        self.scrubber = scrubber or Scrubber()
        self.owner = owner

    def __bool__(self) -> bool:
        return len(self) > 0 or bool(self.arguments)

    @property
    def is_callers(self) -> bool:
        """Whether some are the caller's own, and not the developer's for all."""
        return self.owner is not None and not self.owner.startswith(DEVELOPER)

    def of(self, tool: str) -> dict[str, str]:
        """The arguments to add to a call of that tool. Raises `secret_missing`."""
        found = {}
        for name, value in self.arguments.get(tool, {}).items():
            if isinstance(value, AppError):
                raise value
            found[name] = value
        return found

    def __repr__(self) -> str:
        """Without the values."""
        return f"Injection({', '.join(self)})"


NO_INJECTION = Injection()


class Credentials(Protocol):
    """What a call to a remote server asks for before it is sent, and when it was refused."""

    async def headers(self, principal: Principal, server: str) -> Injection:
        """What to inject; `NO_INJECTION` for a server that needs nothing.

        Raises `secret_missing`, `connection_required`, `oauth_failed`, `secret_unreadable`,
        `keys_unavailable`: nothing was sent then, and nothing may be charged.
        """
        ...

    async def refused(
        self,
        principal: Principal,
        server: str,
        status: int,
        www_authenticate: str | None,
        sent: Injection,
    ) -> AppError | None:
        """What to make of an upstream's 401 or 403, which means that it ran nothing.

        None: credentials were renewed, and the call may be sent once more; else the error.
        """
        ...


SecretSource = Callable[[Principal, str], Awaitable[Injection]]
"""`Credentials.headers`, for those who only inject."""


class AccessToken(NamedTuple):
    """A token of a user for one server, and when it ends; None if nobody said."""

    value: str
    expires_at: datetime | None


class TokenSource(Protocol):
    """Keeps users' connections with servers."""

    async def token(self, principal: Principal, upstream: RemoteServer) -> AccessToken:
        """A token that is good now. Raises `connection_required`, `oauth_failed`."""
        ...

    async def refused(
        self,
        principal: Principal,
        upstream: RemoteServer,
        status: int,
        www_authenticate: str | None,
        sent: str | None,
    ) -> AppError | None:
        """As `Credentials.refused`; `sent` is the token that was refused."""
        ...


class UpstreamRefusedError(AppError):
    """A remote server answered 401 or 403; `Credentials.refused` says what to make of it."""

    def __init__(self, server: str, status: int, www_authenticate: str | None) -> None:
        super().__init__(
            Code.TOOL_SERVER_DOWN,
            f"The tool server {server} refuses the configured credentials (HTTP {status}).",
            hint="Its operator has to correct them.",
            details={"server": server},
        )
        self.http_status = status
        self.www_authenticate = www_authenticate
