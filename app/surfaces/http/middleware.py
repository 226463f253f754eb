"""What happens around every request: its id, its metrics, its size, and the net below it."""

import re
import time
from urllib.parse import unquote

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.kernel.errors import AppError, Code
from app.kernel.ids import new_id
from app.kernel.metrics import Metrics
from app.kernel.telemetry import request_id
from app.surfaces.problems import problem, unexpected

_GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEADER = "x-request-id"
# Their routes are not the framework's, which leave their template in the scope.
_MCP = frozenset({"/mcp", "/sse", "/messages/"})


class Observed:
    """Gives a request its id, answers for what nobody caught, and counts the answer."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        identity, status, started = _identity(scope), 0, time.perf_counter()
        token = request_id.set(identity)

        async def labelled(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[_HEADER] = identity
            await send(message)

        try:
            await self._app(scope, receive, labelled)
        except ClientDisconnect:
            status = status or 499
        except Exception as error:
            if status:
                raise
            told = unexpected(error, scope["path"])
            await problem(told, scope["path"])(scope, receive, labelled)
        finally:
            request_id.reset(token)
            seconds = time.perf_counter() - started
            self._metrics.observe_http(scope["method"], _route(scope), status, seconds)


def _identity(scope: Scope) -> str:
    given = Headers(scope=scope).get(_HEADER, "")
    return given if _GIVEN_ID.fullmatch(given) else str(new_id())


def _route(scope: Scope) -> str:
    if (path := scope.get("path")) in _MCP:
        return str(path)
    route = scope.get("route")
    return str(getattr(route, "path", "unmatched"))


class Limited:
    """Refuses bodies larger than a request may be. Uploads have their own limit, in storage."""

    def __init__(self, app: ASGIApp, *, limit: int, upload_limit: int, upload_path: str) -> None:
        self._app = app
        self._limit = limit
        self._upload_limit = upload_limit
        self._upload_path = upload_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_upload = unquote(scope["path"]) == self._upload_path
        limit = self._upload_limit if is_upload else self._limit
        error = _too_large(limit)
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            await problem(error, scope["path"])(scope, receive, send)
            return
        await self._app(scope, receive if is_upload else _counted(receive, limit), send)


def _counted(receive: Receive, limit: int) -> Receive:
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise HTTPException(413, f"The request is larger than {limit} bytes.")
        return message

    return counted


def _too_large(limit: int) -> AppError:
    return AppError(
        Code.PAYLOAD_TOO_LARGE,
        f"The request is larger than {limit} bytes.",
        hint="Upload large inputs as files, with POST /v1/files.",
        details={"limit": limit},
    )
