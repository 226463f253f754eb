"""An authorization server and an MCP server that asks for its tokens, on the loopback.

They check what a strict one would: exact redirect addresses, PKCE with S256, resource indicators,
single-use codes, refresh tokens that are good once. What they get wrong is up to the test.
"""

import base64
import hashlib
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode

import httpx2
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from app.kernel.settings import Settings
from app.surfaces.listening import bind, listening, url_of

Rewrite = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass
class Issued:
    """A token and what it is good for."""

    scopes: list[str]
    resource: str
    client_id: str
    is_live: bool = True


@dataclass
class AuthServer:
    """`faults` by path: a response that takes the place of the true one."""

    url: str = ""
    has_cimd: bool = True
    has_dcr: bool = True
    sends_iss: bool = True
    methods: list[str] = field(default_factory=lambda: ["none", "client_secret_basic"])
    scopes: list[str] = field(default_factory=lambda: ["read", "write", "offline_access"])
    expires_in: int | None = 3600
    rotates: bool = True
    faults: dict[str, Response] = field(default_factory=dict)
    metadata: Rewrite = dict
    answers: Rewrite = dict
    grants: dict[str, str] | None = None
    clients: dict[str, dict[str, Any]] = field(default_factory=dict)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    access: dict[str, Issued] = field(default_factory=dict)
    refresh: dict[str, Issued] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.middleware("http")
        async def faulty(request: Request, call_next: Any) -> Response:
            fault = self.faults.get(request.url.path)
            return fault if fault is not None else await call_next(request)

        app.add_api_route("/.well-known/oauth-authorization-server", self.describe)
        app.add_api_route("/register", self.register, methods=["POST"])
        app.add_api_route("/authorize", self.authorize)
        app.add_api_route("/token", self.token, methods=["POST"])
        app.add_api_route("/revoke", self.revoke, methods=["POST"])
        return app

    async def describe(self) -> JSONResponse:
        found = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "revocation_endpoint": f"{self.url}/revoke",
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": self.methods,
            "scopes_supported": self.scopes,
            "client_id_metadata_document_supported": self.has_cimd,
            "authorization_response_iss_parameter_supported": self.sends_iss,
        }
        if self.has_dcr:
            found["registration_endpoint"] = f"{self.url}/register"
        return JSONResponse(self.metadata(found))

    async def register(self, request: Request) -> JSONResponse:
        given = await request.json()
        client_id = f"client-{len(self.clients)}"
        made = {**given, "client_id": client_id}
        if given["token_endpoint_auth_method"] != "none":
            made["client_secret"] = f"secret/of:{client_id}"
        self.clients[client_id] = made
        return JSONResponse(made, 201)

    async def _client(self, client_id: str) -> dict[str, Any]:
        """A registered client, or the document behind its id."""
        if client_id in self.clients:
            return self.clients[client_id]
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as http:
            found = (await http.get(client_id)).json()
        assert found["client_id"] == client_id
        self.clients[client_id] = found
        return dict(found)

    async def authorize(self, request: Request) -> Response:
        """Everybody signs in and consents at once."""
        given = dict(request.query_params)
        self.asked.append(("/authorize", given))
        client = await self._client(given["client_id"])
        if given["redirect_uri"] not in client["redirect_uris"]:
            return JSONResponse({"error": "invalid_redirect_uri"}, 400)
        assert given["response_type"] == "code"
        assert given["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self.codes[code] = given
        back = self.answers({"code": code, "state": given["state"]} | self._iss())
        return RedirectResponse(f"{given['redirect_uri']}?{urlencode(back)}", 302)

    def _iss(self) -> dict[str, str]:
        return {"iss": self.url} if self.sends_iss else {}

    async def token(self, request: Request) -> JSONResponse:
        form = {key: each[0] for key, each in parse_qs((await request.body()).decode()).items()}
        self.asked.append(("/token", form))
        client_id, client_secret = _client_of(request, form)
        expected = self.clients.get(client_id, {}).get("client_secret")
        if client_secret != expected:
            return _no("invalid_client", 401)
        if form["grant_type"] == "authorization_code":
            return self._exchange(form, client_id)
        return self._refresh(form, client_id)

    def _exchange(self, form: dict[str, str], client_id: str) -> JSONResponse:
        given = self.codes.pop(form["code"], None)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        is_good = given is not None and (
            (given["client_id"], given["redirect_uri"], given["code_challenge"], given["resource"])
            == (client_id, form["redirect_uri"], challenge, form["resource"])
        )
        if given is None or not is_good:
            return _no("invalid_grant")
        scopes = given.get("scope", "").split()
        return self._issue(Issued(scopes, form["resource"], client_id))

    def _refresh(self, form: dict[str, str], client_id: str) -> JSONResponse:
        found = self.refresh.get(form["refresh_token"])
        if found is None or not found.is_live or found.client_id != client_id:
            return _no("invalid_grant")
        found.is_live = not self.rotates
        return self._issue(Issued(found.scopes, form["resource"], client_id))

    def _issue(self, issued: Issued) -> JSONResponse:
        access = f"access-{secrets.token_urlsafe(16)}"
        self.access[access] = issued
        body: dict[str, Any] = {"access_token": access, "token_type": "Bearer"}
        if self.expires_in is not None:
            body["expires_in"] = self.expires_in
        if issued.scopes:
            body["scope"] = " ".join(issued.scopes)
        if self.rotates or not self.refresh:
            again = f"refresh-{secrets.token_urlsafe(16)}"
            self.refresh[again] = Issued(issued.scopes, issued.resource, issued.client_id)
            body["refresh_token"] = again
        return JSONResponse(self.answers(body), headers={"cache-control": "no-store"})

    async def revoke(self, request: Request) -> Response:
        form = {key: each[0] for key, each in parse_qs((await request.body()).decode()).items()}
        self.asked.append(("/revoke", form))
        for issued in (self.refresh.get(form["token"]), self.access.get(form["token"])):
            if issued is not None:
                issued.is_live = False
        return Response(status_code=200)

    def count(self, grant: str) -> int:
        """How many requests of a grant type the token endpoint saw."""
        return sum(form.get("grant_type") == grant for path, form in self.asked if path == "/token")


def _client_of(request: Request, form: dict[str, str]) -> tuple[str, str | None]:
    scheme, _, coded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        name, _, secret = base64.b64decode(coded).decode().partition(":")
        return unquote(name), unquote(secret)
    return form["client_id"], form.get("client_secret")


def _no(word: str, status: int = 400) -> JSONResponse:
    return JSONResponse({"error": word, "error_description": "no: <script>"}, status)


@dataclass
class McpServer:
    """Asks for a token of `auth` for itself; `write_tools` for the scope `write` too."""

    auth: AuthServer
    url: str = ""
    resource: str = ""
    scope: str | None = "read"
    challenge: str | None = None
    metadata: Rewrite = dict
    faults: dict[str, Response] = field(default_factory=dict)
    seen: list[dict[str, str]] = field(default_factory=list)

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.middleware("http")
        async def faulty(request: Request, call_next: Any) -> Response:
            fault = self.faults.get(request.url.path)
            return fault if fault is not None else await call_next(request)

        app.add_api_route("/mcp", self.answer, methods=["POST"])
        app.add_api_route("/.well-known/oauth-protected-resource/mcp", self.describe)
        return app

    async def describe(self) -> JSONResponse:
        found = {
            "resource": self.resource or self.url,
            "authorization_servers": [self.auth.url],
            "scopes_supported": ["read", "write"],
        }
        return JSONResponse(self.metadata(found))

    def check(self, authorization: str | None, needed: str = "read") -> tuple[int, str | None]:
        """The status and challenge for a request with this header."""
        place = self.url.replace("/mcp", "/.well-known/oauth-protected-resource/mcp")
        scope = f', scope="{self.scope}"' if self.scope else ""
        told = self.challenge or f'Bearer resource_metadata="{place}"{scope}'
        token = (authorization or "").removeprefix("Bearer ")
        issued = self.auth.access.get(token)
        if issued is None or not issued.is_live or issued.resource != (self.resource or self.url):
            return 401, told
        if needed not in issued.scopes:
            return 403, f'Bearer error="insufficient_scope", scope="{needed}"'
        return 200, None

    async def answer(self, request: Request) -> Response:
        self.seen.append(dict(request.headers))
        body = await request.json()
        name = body.get("params", {}).get("name", "")
        needed = "write" if name == "change" else "read"
        status, challenge = self.check(request.headers.get("authorization"), needed)
        headers = {"www-authenticate": challenge} if challenge else {}
        if status != 200:
            return JSONResponse({"error": "no"}, status, headers)
        echo = dict(request.headers)
        result = {"content": [{"type": "text", "text": str(echo)}], "structuredContent": echo}
        complete = {"resultType": "complete", "isError": False}
        return JSONResponse({"jsonrpc": "2.0", "id": body["id"], "result": result | complete})


@asynccontextmanager
async def serving() -> AsyncIterator[McpServer]:
    """Both servers, each at an origin of its own."""
    auth = AuthServer()
    server = McpServer(auth)
    here, there = bind("127.0.0.1", 0), bind("127.0.0.1", 0)
    auth.url, server.url = url_of(here), url_of(there) + "/mcp"
    settings = Settings()
    async with (
        listening(auth.app(), settings, here),
        listening(server.app(), settings, there),
    ):
        yield server
