"""Frames the answers of calls and lists, as bytes."""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from mcp.server.caching import CacheHint


class OlderFraming:
    """Answers of the handshake era, which carry no stamp."""

    def answered(
        self, request_id: bytes, content: bytes, structured: bytes | None, charged_micro: int
    ) -> bytes:
        """The response of a tool that answered."""
        shown = b"" if structured is None else b'"structuredContent":%b,' % structured
        return (
            b'{"jsonrpc":"2.0","id":%b,"result":{"content":%b,%b"isError":false,"_meta":{"uaol/charged_micro":%d}}}'
            % (request_id, content, shown, charged_micro)
        )

    def refused(self, request_id: bytes, result: Mapping[str, Any]) -> bytes:
        """The response of a call that failed, in words of `app.surfaces.mcp.results.failure`."""
        shown = {key: value for key, value in result.items() if key != "resultType"}
        body = orjson.dumps(shown, default=str)
        return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (request_id, body)


class Framing:
    """Answers, with the stamp of the server that every result of this revision carries."""

    def __init__(self, server_info: Mapping[str, Any]) -> None:
        stamp = orjson.dumps({"io.modelcontextprotocol/serverInfo": dict(server_info)})
        self._stamp = stamp[1:]

    def answered(
        self, request_id: bytes, content: bytes, structured: bytes | None, charged_micro: int
    ) -> bytes:
        """The response of a tool that answered."""
        return (
            b'{"jsonrpc":"2.0","id":%b,"result":{"content":%b,%b"isError":false,"resultType":"complete","_meta":{"uaol/charged_micro":%d,%b}}'
            % (
                request_id,
                content,
                b"" if structured is None else b'"structuredContent":%b,' % structured,
                charged_micro,
                self._stamp,
            )
        )

    def listed(
        self, request_id: bytes, tools: Iterable[bytes], cursor: str | None, hint: CacheHint
    ) -> bytes:
        """The response with a page of tools, each as JSON."""
        following = b"" if cursor is None else b',"nextCursor":%b' % orjson.dumps(cursor)
        return (
            b'{"jsonrpc":"2.0","id":%b,"result":{"ttlMs":%d,"cacheScope":%b,"tools":[%b],"resultType":"complete"%b,"_meta":{%b}}'
            % (
                request_id,
                hint.ttl_ms,
                orjson.dumps(hint.scope),
                b",".join(tools),
                following,
                self._stamp,
            )
        )

    def refused(self, request_id: bytes, result: Mapping[str, Any]) -> bytes:
        """The response of a call that failed, in words of `app.surfaces.mcp.results.failure`."""
        more = orjson.dumps(result.get("_meta", {}))[1:-1]
        rest = {key: value for key, value in result.items() if key != "_meta"}
        return b'{"jsonrpc":"2.0","id":%b,"result":%b,"_meta":{%b%b}}' % (
            request_id,
            orjson.dumps(rest, default=str)[:-1],
            more + b"," if more else b"",
            self._stamp,
        )
