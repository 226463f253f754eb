"""Bare reverse proxies over aiohttp's pool: what any Python gateway costs at least.

`python -m bench.gateway.floors fastapi|asgi URL`
"""

import argparse
from typing import Any

import aiohttp
from fastapi import FastAPI, Request, Response

from bench.gateway.serving import serve

_DROPPED = frozenset({"host", "content-length", "connection", "authorization"})
_DROPPED_RAW = frozenset(name.encode() for name in _DROPPED)


class Pool:
    """The connections to the upstream, made in the loop that uses them."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """The one session."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=4.0),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


def fastapi_proxy(url: str) -> Any:
    """The usual way: a FastAPI route that forwards body and headers."""
    app, pool = FastAPI(), Pool()

    @app.post("/mcp")
    async def forward(request: Request) -> Response:
        body = await request.body()
        headers = {key: value for key, value in request.headers.items() if key not in _DROPPED}
        async with pool.session.post(url, data=body, headers=headers) as answer:
            data = await answer.read()
            return Response(data, answer.status, media_type=answer.content_type)

    return app


def asgi_proxy(url: str) -> Any:
    """The least way: bytes in, bytes out."""
    pool = Pool()

    async def forward(_scope: Any, receive: Any, send: Any) -> None:
        body, has_more = b"", True
        while has_more:
            message = await receive()
            body += message.get("body", b"")
            has_more = message.get("more_body", False)
        headers = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in _scope["headers"]
            if name not in _DROPPED_RAW
        }
        async with pool.session.post(url, data=body, headers=headers) as answer:
            data = await answer.read()
            kind = answer.headers.get("Content-Type", "application/json").encode()
        sent = [(b"content-type", kind), (b"content-length", b"%d" % len(data))]
        await send({"type": "http.response.start", "status": answer.status, "headers": sent})
        await send({"type": "http.response.body", "body": data})

    return forward


def main() -> None:
    """Parse, serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["fastapi", "asgi"])
    parser.add_argument("url")
    args = parser.parse_args()
    serve((fastapi_proxy if args.kind == "fastapi" else asgi_proxy)(args.url))


if __name__ == "__main__":
    main()
