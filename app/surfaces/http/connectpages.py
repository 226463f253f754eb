"""The pages of connecting a server, for browsers: plain HTML, no script, nothing from elsewhere."""

from collections.abc import Mapping
from html import escape
from urllib.parse import quote

from fastapi.responses import HTMLResponse

from app.kernel.errors import AppError
from app.proxy import Consent
from app.surfaces.safe import CONNECT_PATH

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 36rem; margin: 4rem auto; padding: 1rem }}
dt {{ color: #555 }} dd {{ margin: 0 0 .75rem; font-weight: 600; overflow-wrap: anywhere }}
input {{ font: inherit; width: 100%; padding: .5rem; box-sizing: border-box }}
button {{ font: inherit; padding: .5rem 1.25rem; margin-top: 1rem }}
</style></head>
<body><h1>{title}</h1>
{body}
</body></html>
"""
_KEY = """<p>Calls to <strong>{server}</strong> ({origin}) need your own account there.
UAOL will keep the connection for you, and for nobody else.</p>
<form method="post" action="{path}">
<label>Your UAOL API key<br>
<input name="key" type="password" autocomplete="off" required maxlength="8192"></label>
<p>It says whose connection this will be. Give it only if you came here by yourself.</p>
<button>Go on</button></form>"""
_CONSENT = """<p>UAOL asks for access to your account, to use it for your calls to this server.</p>
<dl><dt>Server</dt><dd>{server}<br>{origin}</dd>
<dt>Where you sign in</dt><dd>{door}<br>{issuer}</dd>
<dt>What is asked for</dt><dd>{scopes}</dd></dl>
<form method="post" action="{path}/approve">
<input type="hidden" name="flow" value="{flow}">
<button>Connect</button></form>
<p>If you did not mean to, close this page: nothing has happened.</p>"""
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none';"
    " form-action 'self' {doors}"
)


def key_page(server: str, origin: str) -> HTMLResponse:
    """Asks whose connection it will be."""
    body = _KEY.format(server=escape(server), origin=escape(origin), path=_path(server))
    return _page("Connect your account", body)


def consent_page(consent: Consent) -> HTMLResponse:
    """Says what is about to happen and asks for consent."""
    scopes = "<br>".join(escape(scope) for scope in consent.scopes) or "What the server decides"
    body = _CONSENT.format(
        server=escape(consent.server),
        origin=escape(consent.origin),
        door=escape(consent.authorization_host),
        issuer=escape(consent.issuer),
        scopes=scopes,
        path=_path(consent.server),
        flow=consent.flow_id,
    )
    return _page("Connect your account", body, door=consent.authorization_host)


def done_page(server: str) -> HTMLResponse:
    """Says that it worked."""
    body = f"<p><strong>{escape(server)}</strong> is connected. Close this page and call again.</p>"
    return _page("Connected", body)


def error_page(error: AppError) -> HTMLResponse:
    """An error for people; `code` is what the API would say."""
    body = f"<p>{escape(error.message)}</p><p>{escape(error.hint or '')}</p>"
    code = f"<p><small>{escape(error.code.value)}</small></p>"
    return _page("This did not work", body + code, status=error.status)


def _page(title: str, body: str, *, status: int = 200, door: str | None = None) -> HTMLResponse:
    # Browsers hold the target of a form's redirect against the policy too.
    doors = f"https://{door} http://{door}" if door and _is_plain(door) else ""
    headers: Mapping[str, str] = {
        "content-security-policy": _POLICY.format(doors=doors),
        "cache-control": "no-store",
        "x-frame-options": "DENY",
        "x-content-type-options": "nosniff",
        # With none at all browsers would send forms of this page with the origin `null`.
        "referrer-policy": "same-origin",
    }
    return HTMLResponse(_PAGE.format(title=escape(title), body=body), status, dict(headers))


def _is_plain(host: str) -> bool:
    return all(char.isalnum() or char in ".-:[]" for char in host)


def _path(server: str) -> str:
    return escape(f"{CONNECT_PATH}/{quote(server, safe='')}")
