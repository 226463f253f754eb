"""From a server's URL to its authorization server (RFC 9728, RFC 8414, OpenID Connect Discovery).

https://modelcontextprotocol.io/specification/2026-07-28/basic/authorization: the server's 401 or
its well-known address gives its metadata, that names an issuer, and the issuer's metadata has to
name the same issuer and PKCE with S256.
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from app.proxy.credentials import origin_of
from app.proxy.oauth.challenge import Challenge, read_challenge, scopes_of
from app.proxy.oauth.faults import failed
from app.proxy.oauth.types import AuthServer, ProtectedResource
from app.proxy.oauth.web import Web, host_of

_RESOURCE = "/.well-known/oauth-protected-resource"
_OAUTH = "/.well-known/oauth-authorization-server"
_OPENID = "/.well-known/openid-configuration"
_OFFLINE = "offline_access"
_OK = 200
# Asks nothing and changes nothing: a server of any revision turns it away before it reads it.
_PROBE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "server/discover",
    "params": {
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        }
    },
}
_PROBE_HEADERS = {
    "accept": "application/json, text/event-stream",
    "mcp-protocol-version": "2026-07-28",
    "mcp-method": "server/discover",
}


async def discover(
    web: Web, url: str, asked: Sequence[str] = ()
) -> tuple[ProtectedResource, AuthServer]:
    """A server's metadata and its authorization server's; raises `oauth_failed`.

    The scopes are `asked` and those of the server's challenge, or else all that it names.
    """
    answer = await web.post_json(url, _PROBE, _PROBE_HEADERS)
    challenge = read_challenge(answer.www_authenticate)
    resource = await _resource(web, url, challenge)
    server = await _auth_server(web, resource.issuer)
    scopes = [*asked, *(challenge.scopes or (resource.scopes if not asked else ()))]
    # Without it many servers give no refresh token.
    if scopes and _OFFLINE in server.scopes:
        scopes.append(_OFFLINE)
    return resource._replace(scopes=tuple(dict.fromkeys(scopes))), server


async def _resource(web: Web, url: str, challenge: Challenge) -> ProtectedResource:
    who = f"The server {host_of(url)}"
    if challenge.resource_metadata is not None:
        place = web.check(challenge.resource_metadata, f"{who}'s metadata address")
        found = (await web.get(place)).body
    else:
        found = await _first(web, _inserted(url, _RESOURCE))
    if found is None:
        raise failed(who, "does not say which authorization server is its own (RFC 9728)")
    resource = found.get("resource")
    if not isinstance(resource, str) or not _covers(resource, url):
        raise failed(who, "gives metadata of another resource")
    servers = found.get("authorization_servers")
    if not isinstance(servers, list) or not servers or not isinstance(servers[0], str):
        raise failed(who, "names no authorization server")
    return ProtectedResource(resource, servers[0], _names(found.get("scopes_supported")))


def _covers(resource: str, url: str) -> bool:
    """Whether a resource identifier is the URL or a path above it at the same origin."""
    try:
        is_same = origin_of(resource) == origin_of(url)
    except ValueError:
        return False
    above = urlsplit(resource).path.rstrip("/")
    path = urlsplit(url).path
    return is_same and not urlsplit(resource).query and (path + "/").startswith(above + "/")


async def _auth_server(web: Web, issuer: str) -> AuthServer:
    who = f"The authorization server {host_of(issuer)}"
    web.check(issuer, f"{who}'s address")
    path = urlsplit(issuer).path.rstrip("/")
    places = [_at(issuer, _OAUTH + path), _at(issuer, _OPENID + path)]
    if path:
        places.append(_at(issuer, path + _OPENID))
    found = await _first(web, places)
    if found is None:
        raise failed(who, "has no metadata (RFC 8414)")
    if not _is_same_issuer(found.get("issuer"), issuer):
        raise failed(who, "gives metadata of another issuer")
    if "S256" not in _names(found.get("code_challenge_methods_supported")):
        raise failed(who, "does not support PKCE with S256")
    return AuthServer(
        issuer=str(found["issuer"]),
        authorization_endpoint=web.check(found.get("authorization_endpoint"), f"{who}'s door"),
        token_endpoint=web.check(found.get("token_endpoint"), f"{who}'s token endpoint"),
        registration_endpoint=_optional(web, found, "registration_endpoint", who),
        revocation_endpoint=_optional(web, found, "revocation_endpoint", who),
        scopes=_names(found.get("scopes_supported")),
        methods=_names(found.get("token_endpoint_auth_methods_supported"))
        or ("client_secret_basic",),
        takes_metadata_documents=found.get("client_id_metadata_document_supported") is True,
        sends_issuer=found.get("authorization_response_iss_parameter_supported") is True,
    )


def _is_same_issuer(given: Any, issuer: str) -> bool:
    """Equal but for the slash of an empty path, which is none (RFC 3986, section 6.2.3)."""
    if not isinstance(given, str):
        return False
    return given == issuer or (
        given.rstrip("/") == issuer.rstrip("/") and not urlsplit(given).path.strip("/")
    )


def _optional(web: Web, found: dict[str, Any], name: str, who: str) -> str | None:
    value = found.get(name)
    return None if value is None else web.check(value, f"{who}'s {name}")


async def _first(web: Web, places: Sequence[str]) -> dict[str, Any] | None:
    """The first document that is there; a place that answers otherwise is passed over."""
    for place in places:
        answer = await web.get(place)
        if answer.status == _OK and answer.body is not None:
            return answer.body
    return None


def _inserted(url: str, name: str) -> list[str]:
    path = urlsplit(url).path.rstrip("/")
    return [_at(url, name + path), _at(url, name)] if path else [_at(url, name)]


def _at(url: str, path: str) -> str:
    return origin_of(url) + path


def _names(value: Any) -> tuple[str, ...]:
    words = value if isinstance(value, list) else []
    return tuple(word for word in words if isinstance(word, str) and scopes_of(word) == (word,))
