"""Which Host and Origin headers are let in; others may be a name that was rebound (DNS)."""

from urllib.parse import urlsplit

from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Scope

from app.kernel.errors import AppError
from app.kernel.settings import Settings
from app.surfaces.problems import code_of, problem

_LOCAL = ("127.0.0.1", "localhost", "[::1]")


def security(settings: Settings) -> TransportSecuritySettings:
    """The Host and Origin headers that are let in."""
    hosts = [*_LOCAL, *(f"{name}:*" for name in _LOCAL), *settings.allowed_hosts]
    origins = [f"http://{name}:*" for name in _LOCAL] + list(settings.allowed_origins)
    hosts += [settings.host, f"{settings.host}:*"]
    if settings.public_url is not None:
        public = urlsplit(settings.public_url)
        hosts.append(public.netloc)
        origins.append(f"{public.scheme}://{public.netloc}")
    return TransportSecuritySettings(allowed_hosts=hosts, allowed_origins=origins)


class Origins:
    """Checks requests that no transport of the SDK checks."""

    def __init__(self, settings: Settings) -> None:
        self._check = TransportSecurityMiddleware(security(settings))

    async def refusal(self, scope: Scope) -> JSONResponse | None:
        """The answer to a request with a foreign Host or Origin; None if both may be."""
        found = await self._check.validate_request(Request(as_http(scope)))
        if found is None:
            return None
        status = found.status_code
        reason = bytes(found.body).decode()
        error = AppError(
            code_of(status),
            f"{reason}.",
            hint="Operators list names in UAOL_ALLOWED_HOSTS and UAOL_ALLOWED_ORIGINS.",
        )
        return problem(error, scope["path"], status)


def as_http(scope: Scope) -> Scope:
    """The request that opens a WebSocket, as the HTTP request it is (RFC 6455, section 4.1)."""
    if scope["type"] == "http":
        return scope
    scheme = "https" if scope["scheme"] == "wss" else "http"
    return {**scope, "type": "http", "method": "GET", "scheme": scheme}
