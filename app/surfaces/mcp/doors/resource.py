"""This server as an OAuth resource (RFC 9728): its metadata, and its challenges (RFC 6750)."""

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from app.kernel.principal import USER_SCOPES
from app.kernel.settings import Settings
from app.surfaces.mcp.doors.origins import Origins, as_http

WELL_KNOWN = "/.well-known/oauth-protected-resource"
DOORS = ("/mcp", "/sse", "/ws")
_SCOPES = sorted(scope.value for scope in USER_SCOPES)
# Public and the same for everybody: any page may read it.
_HEADERS = {"access-control-allow-origin": "*", "cache-control": "public, max-age=300"}


class Resource:
    """What clients are told about how to be let in."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._origins = Origins(settings)

    def routes(self) -> list[Route]:
        """The metadata of each door; without a door's path, that of `/mcp`."""
        return [
            Route(WELL_KNOWN + door, endpoint=_Document(self, door or DOORS[0]), methods=["GET"])
            for door in ("", *DOORS)
        ]

    def document(self, scope: Scope, door: str) -> dict[str, Any]:
        """The metadata of a door (RFC 9728, section 2)."""
        document: dict[str, Any] = {
            "resource": self.base(scope) + door,
            "resource_name": "UAOL",
            "scopes_supported": _SCOPES,
            "bearer_methods_supported": ["header"],
        }
        if servers := self._servers():
            document["authorization_servers"] = servers
        return document

    def challenge(self, scope: Scope, error: str | None, scopes: Sequence[str] = ()) -> str:
        """A `WWW-Authenticate` value (RFC 6750, section 3; RFC 9728, section 5.1).

        `error` is None for a request that brought no credential at all.
        """
        door = next((door for door in DOORS if scope["path"].startswith(door)), DOORS[0])
        said = {
            "realm": "uaol",
            "error": error,
            "scope": " ".join(scopes or _SCOPES),
            "resource_metadata": f"{self.base(scope)}{WELL_KNOWN}{door}",
        }
        return "Bearer " + ", ".join(f'{key}="{value}"' for key, value in said.items() if value)

    async def refusal(self, scope: Scope) -> JSONResponse | None:
        """As `Origins.refusal`; to be asked before an address of the request is repeated."""
        return await self._origins.refusal(scope)

    def base(self, scope: Scope) -> str:
        """The URL that clients reach the server at, without a slash at its end."""
        return (self._settings.public_url or str(Request(as_http(scope)).base_url)).rstrip("/")

    def _servers(self) -> list[str]:
        issuer = self._settings.jwt_issuer
        return list(self._settings.authorization_servers) or ([issuer] if issuer else [])


class _Document:
    """An endpoint as a class, because Starlette reads a function's arguments."""

    def __init__(self, resource: Resource, door: str) -> None:
        self._resource = resource
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = await self._resource.refusal(scope)
        if answer is None:
            answer = JSONResponse(self._resource.document(scope, self._door), headers=_HEADERS)
        await answer(scope, receive, send)
