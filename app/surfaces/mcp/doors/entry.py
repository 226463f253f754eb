"""Puts who was let in into a request, where handlers, doors and the SDK look for it."""

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from starlette.types import Scope

from app.auth import Entrant
from app.surfaces.mcp.calls import PRINCIPAL_KEY

_ENTRANT_KEY = "uaol.entrant"


def enter(scope: Scope, entrant: Entrant) -> None:
    """Mark a request as this entrant's."""
    scope[_ENTRANT_KEY] = entrant
    scope[PRINCIPAL_KEY] = entrant.principal
    # The SDK compares this with who opened a session.
    scope["user"] = AuthenticatedUser(_token(entrant))


def entrant_of(scope: Scope) -> Entrant:
    """Who was let in."""
    entrant = scope[_ENTRANT_KEY]
    assert isinstance(entrant, Entrant)
    return entrant


def _token(entrant: Entrant) -> AccessToken:
    return AccessToken(
        token="",
        client_id=entrant.client,
        subject=str(entrant.principal.owner),
        scopes=sorted(entrant.principal.scopes),
        claims={"iss": entrant.issuer} if entrant.issuer is not None else None,
    )
