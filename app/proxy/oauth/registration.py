"""Who this platform is at an authorization server.

In the order of the specification: a client registered by hand, a client id metadata document
(draft-ietf-oauth-client-id-metadata-document), dynamic registration (RFC 7591). Clients are
registered for one user each, so that no two users' consents meet in one client.
"""

from typing import Any

from app.proxy.oauth.faults import failed
from app.proxy.oauth.types import CLIENT_METHODS, AuthServer, Client, ClientMethod, Identity
from app.proxy.oauth.web import Web, host_of
from app.registry import UpstreamOAuth

_LONGEST = 2000
_CREATED = (200, 201)


def metadata_document(identity: Identity) -> dict[str, Any]:
    """The document behind the client id, which authorization servers fetch."""
    return _described(identity, "none") | {"client_id": identity.client_id}


async def client_for(
    web: Web,
    server: AuthServer,
    oauth: UpstreamOAuth,
    identity: Identity,
    known: Client | None = None,
) -> Client:
    """The client to use; `known` is the user's own of an earlier connection to this server.

    Raises `oauth_failed` where there is no way to become one.
    """
    if oauth.client_id is not None:
        return _by_hand(server, oauth, oauth.client_id)
    if server.takes_metadata_documents and identity.client_id is not None:
        return Client(identity.client_id)
    if known is not None:
        return known
    if server.registration_endpoint is None:
        raise failed(
            f"The authorization server {host_of(server.issuer)}",
            "knows only clients that were registered with it by hand; the server's entry needs"
            " their client_id",
        )
    return await _register(web, server, server.registration_endpoint, identity)


def _by_hand(server: AuthServer, oauth: UpstreamOAuth, client_id: str) -> Client:
    if oauth.client_secret is None:
        return Client(client_id)
    is_post = "client_secret_basic" not in server.methods
    method: ClientMethod = "client_secret_post" if is_post else "client_secret_basic"
    return Client(client_id, method, oauth.client_secret)


async def _register(web: Web, server: AuthServer, url: str, identity: Identity) -> Client:
    who = f"The authorization server {host_of(server.issuer)}"
    wanted = next((each for each in CLIENT_METHODS if each in server.methods), None)
    if wanted is None:
        raise failed(who, "asks for a way of client authentication that is not supported")
    answer = await web.post_json(url, _described(identity, wanted))
    body = answer.body or {}
    client_id, secret = body.get("client_id"), body.get("client_secret")
    if answer.status not in _CREATED or not _is_text(client_id):
        raise failed(who, f"refuses to register a client (HTTP {answer.status})")
    if identity.redirect_uri not in body.get("redirect_uris", [identity.redirect_uri]):
        raise failed(who, "registered another redirect address than it was given")
    return Client(str(client_id), *_method(who, body, wanted, secret), is_registered=True)


def _method(
    who: str, body: dict[str, Any], wanted: ClientMethod, secret: Any
) -> tuple[ClientMethod, str | None]:
    given = body.get("token_endpoint_auth_method", wanted)
    for known in CLIENT_METHODS:
        if given == known:
            if known == "none":
                return known, None
            if _is_text(secret):
                return known, str(secret)
    raise failed(who, "registered a client that cannot authenticate itself")


def _described(identity: Identity, method: str) -> dict[str, Any]:
    return {
        "client_name": identity.name,
        "redirect_uris": [identity.redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": method,
        "application_type": "web",
    }


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST
