"""Routes of connections: pages for the browser that makes one, and what there is of them."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from urllib.parse import parse_qsl
from uuid import UUID

from fastapi import APIRouter, Path, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from app.kernel.errors import AppError, Code
from app.proxy import LIFETIME_S, metadata_document, origin_of
from app.surfaces.connections import ConnectionsOut
from app.surfaces.http.connectpages import consent_page, done_page, error_page, key_page
from app.surfaces.http.dependencies import PREFIX, Caller, Ops
from app.surfaces.http.openapi import RESPONSES
from app.surfaces.operations import Operations
from app.surfaces.payloads import Text

router = APIRouter(prefix=PREFIX, tags=["connections"])
Slug = Annotated[Text, Path(max_length=100, description="The server's slug.")]
_COOKIE = "uaol_connect"
_COOKIE_PATH = f"{PREFIX}/oauth"
_MOST = 16_384
_HTML: dict[int | str, dict[str, Any]] = {
    "default": {
        "content": {"text/html": {}, **RESPONSES["default"]["content"]},
        "description": "The error as a page; of a request that cannot be one, as a problem.",
    }
}
_TAKEN: dict[int | str, dict[str, Any]] = {
    303: {"description": "To the authorization server, where the user signs in."}
}


async def _as_page(step: Callable[[], Awaitable[Response]]) -> Response:
    """Errors as pages: these routes are for people in front of a browser."""
    try:
        return await step()
    except AppError as error:
        return error_page(error)


@router.get("/oauth/connect/{slug}", response_class=HTMLResponse, responses=_HTML)
async def show_connect(ops: Ops, slug: Slug) -> Response:
    """The page where a user begins to connect a server."""

    async def step() -> Response:
        return key_page(slug, origin_of(ops.connecting.flows.server(slug).url))

    return await _as_page(step)


@router.post("/oauth/connect/{slug}", response_class=HTMLResponse, responses=_HTML)
async def begin_connect(request: Request, ops: Ops, slug: Slug) -> Response:
    """Whose connection it will be (form field `key`); answers with what to consent to."""

    async def step() -> Response:
        form = await _form(request, ops)
        consent = await ops.connecting.begin(form.get("key", "").strip(), slug)
        page = consent_page(consent)
        page.set_cookie(
            _COOKIE,
            consent.browser,
            max_age=round(LIFETIME_S),
            path=_COOKIE_PATH,
            secure=ops.connecting.flows.identity.redirect_uri.startswith("https://"),
            httponly=True,
            samesite="lax",
        )
        return page

    return await _as_page(step)


@router.post(
    "/oauth/connect/{slug}/approve",
    status_code=303,
    response_class=RedirectResponse,
    responses=_HTML | _TAKEN,
)
async def approve_connect(request: Request, ops: Ops, slug: Slug) -> Response:
    """The user's consent (form field `flow`, and the cookie of the page before)."""

    async def step() -> Response:
        flow = _uuid((await _form(request, ops)).get("flow", ""))
        browser = request.cookies.get(_COOKIE, "")
        target = await ops.connecting.approve(slug, flow, browser)
        headers = {"cache-control": "no-store", "referrer-policy": "no-referrer"}
        return RedirectResponse(target, 303, headers)

    return await _as_page(step)


@router.get("/oauth/callback", response_class=HTMLResponse, responses=_HTML)
async def finish_connect(request: Request, ops: Ops) -> Response:
    """Where the authorization server sends the browser back to."""

    async def step() -> Response:
        answer = _once(request.query_params.multi_items())
        browser = request.cookies.get(_COOKIE, "")
        page = done_page(await ops.connecting.flows.finish(answer, browser))
        page.delete_cookie(_COOKIE, path=_COOKIE_PATH)
        return page

    return await _as_page(step)


@router.get("/oauth/client.json", response_class=JSONResponse)
async def show_client(ops: Ops) -> JSONResponse:
    """What this platform is to authorization servers: a client id metadata document."""
    identity = ops.connecting.flows.identity
    if identity.client_id is None:
        raise AppError(
            Code.NOT_FOUND,
            "This server has no https address, so it registers with each authorization server.",
            hint="Set UAOL_PUBLIC_URL to its https address.",
        )
    return JSONResponse(metadata_document(identity), headers={"cache-control": "max-age=3600"})


@router.get("/oauth/connections")
async def list_connections(ops: Ops, caller: Caller) -> ConnectionsOut:
    """The servers the caller has connected."""
    return await ops.connecting.list(caller)


@router.delete("/oauth/connections/{slug}", status_code=204)
async def delete_connection(ops: Ops, caller: Caller, slug: Slug) -> None:
    """Forget a connection and its tokens, and tell the authorization server."""
    await ops.connecting.disconnect(caller, slug)


async def _form(request: Request, ops: Operations) -> dict[str, str]:
    """A small form that a page of this server sent."""
    _require_own_page(request, ops)
    raw = await request.body()
    if len(raw) > _MOST:
        raise AppError(Code.PAYLOAD_TOO_LARGE, f"A form here has at most {_MOST} bytes.")
    try:
        return _once(parse_qsl(raw.decode(), keep_blank_values=True, max_num_fields=10))
    except ValueError as error:
        raise AppError(Code.INVALID_INPUT, "The form cannot be read.") from error


def _require_own_page(request: Request, ops: Operations) -> None:
    """Refuse a form that another site made the browser send."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    own = {
        f"{request.url.scheme}://{request.url.netloc}",
        origin_of(ops.connecting.flows.identity.redirect_uri),
    }
    if site in (None, "same-origin", "none") and origin in (None, *own):
        return
    raise AppError(
        Code.FORBIDDEN,
        "The form was sent by another site.",
        hint="Open the connect address yourself.",
    )


def _once(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """The pairs as a mapping; a name given twice is refused (RFC 6749, section 3.1)."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise AppError(Code.INVALID_INPUT, "A parameter is given twice.")
    return found


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise AppError(
            Code.INVALID_INPUT, "The flow is not one of this server.", details={"pointer": "/flow"}
        ) from error
