"""The MCP door on the web server: the exact path `/mcp`, the gate before it, its lifespan."""

from contextlib import AbstractAsyncContextManager
from urllib.parse import urlsplit

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.datastructures import Headers
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.kernel.errors import AppError
from app.kernel.principal import Principal
from app.kernel.settings import Settings
from app.surfaces.context import Access
from app.surfaces.mcp.calls import PRINCIPAL_KEY
from app.surfaces.mcp.server import make_server
from app.surfaces.operations import Operations
from app.surfaces.problems import code_of, problem

PATH = "/mcp"
_LOCAL = ("127.0.0.1", "localhost", "[::1]")


class Gateway:
    """Serves both eras of Streamable HTTP. `run` can be entered once."""

    def __init__(self, operations: Operations) -> None:
        settings = operations.services.settings
        self._manager = StreamableHTTPSessionManager(
            make_server(operations),
            security_settings=security(settings),
            max_request_body_size=settings.request_limit,
        )
        # An exact route: a mount would answer POST /mcp with a redirect to itself.
        self.route = Route(PATH, endpoint=Gate(self._manager.handle_request, operations.access))

    def run(self) -> AbstractAsyncContextManager[None]:
        """The lifespan of the sessions."""
        return self._manager.run()


def security(settings: Settings) -> TransportSecuritySettings:
    """The Host and Origin headers that are let in; others may be a rebound name (DNS)."""
    hosts = [*_LOCAL, *(f"{name}:*" for name in _LOCAL), *settings.allowed_hosts]
    origins = [f"http://{name}:*" for name in _LOCAL] + list(settings.allowed_origins)
    hosts += [settings.host, f"{settings.host}:*"]
    if settings.public_url is not None:
        public = urlsplit(settings.public_url)
        hosts.append(public.netloc)
        origins.append(f"{public.scheme}://{public.netloc}")
    return TransportSecuritySettings(allowed_hosts=hosts, allowed_origins=origins)


class Gate:
    """Lets in who has a key, and makes problem documents of the transport's plain refusals."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        authorization = Headers(scope=scope).get("authorization")
        try:
            principal = await self._access.authenticate(authorization)
        except AppError as error:
            await problem(error, PATH)(scope, receive, send)
            return
        scope[PRINCIPAL_KEY] = principal
        # The SDK compares this with who opened a session.
        scope["user"] = AuthenticatedUser(_token(principal))
        await self._app(scope, receive, _Spoken(scope, receive, send))


def _token(principal: Principal) -> AccessToken:
    return AccessToken(
        token="",
        client_id=str(principal.key_id),
        subject=str(principal.owner),
        scopes=sorted(principal.scopes),
    )


class _Spoken:
    """Replaces refusals without a JSON body (bad Host, Origin, Accept, size) by problem JSON."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._refusal: int | None = None
        self._reason = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_plain_refusal(message):
            self._refusal = message["status"]
            return
        if self._refusal is None or message["type"] != "http.response.body":
            await self._send(message)
            return
        self._reason += message.get("body", b"")
        if not message.get("more_body", False):
            await self._refuse(self._refusal)

    async def _refuse(self, status: int) -> None:
        reason = self._reason.decode(errors="replace") or "The transport refused the request"
        error = AppError(
            code_of(status), f"{reason}.", hint="See the Streamable HTTP transport of MCP."
        )
        await problem(error, PATH, status)(self._scope, self._receive, self._send)


def _is_plain_refusal(message: Message) -> bool:
    headers = Headers(raw=message.get("headers", []))
    return message["status"] >= 400 and "json" not in headers.get("content-type", "")
