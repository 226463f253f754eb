"""One session with a server of 2025-03-26 to 2025-11-25, over Streamable HTTP."""

import logging
from collections.abc import Mapping
from typing import Protocol, Self

import msgspec

from app import __version__
from app.kernel.errors import AppError
from app.proxy.faults import protocol_error
from app.proxy.wire.answers import JSON, raise_for_status, read_answer
from app.proxy.wire.envelope import cut, error, notification, request, result
from app.proxy.wire.era import error_code
from app.proxy.wire.faults import RefusedRequestError, SessionLostError
from app.proxy.wire.modern import ACCEPT, is_repeatable, next_id
from app.proxy.wire.pool import Pool
from app.proxy.wire.types import Answer, OnMessage, Target

OFFERED = "2025-11-25"
SESSION = "Mcp-Session-Id"
VERSIONS = frozenset({"2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"})
_BASE = {"Content-Type": JSON, "Accept": ACCEPT}
_NO_METHOD = b'{"code":-32601,"message":"Method not found"}'
_SESSION_GONE = 404
_BAD_REQUEST = 400
_NO_SESSION_CODES = (-32000, -32600)
_log = logging.getLogger(__name__)


class _Initialized(msgspec.Struct):
    protocolVersion: str  # noqa: N815 - the wire's own name


class Session(Protocol):
    """A conversation with one server on behalf of one owner of credentials."""

    async def request(
        self,
        request_id: bytes,
        method: str,
        params: bytes,
        headers: Mapping[str, str],
        on_message: OnMessage | None = None,
    ) -> Answer:
        """Send one request.

        Raises `SessionLostError` where the server had ended the session, and did not read it.
        """
        ...

    async def cancel(self, request_id: bytes, headers: Mapping[str, str]) -> None:
        """Say that nobody waits for that request any more. Raises as `Pool.send` does."""
        ...

    async def close(self) -> None:
        """Take leave; failures are of no interest."""
        ...


def hello() -> bytes:
    """The params of `initialize`: no capability, so that the server asks nothing back."""
    return msgspec.json.encode(
        {
            "protocolVersion": OFFERED,
            "capabilities": {},
            "clientInfo": {"name": "uaol", "version": __version__},
        }
    )


def agreed_version(answer: Answer, target: Target) -> str:
    """The version a server chose. Raises `tool_protocol_error` for one that nobody knows."""
    if answer.body is None:
        raise protocol_error(target.name, "refuses the handshake")
    try:
        version = msgspec.json.decode(answer.body, type=_Initialized).protocolVersion
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        version = ""
    if version not in VERSIONS:
        raise protocol_error(target.name, "speaks no version of MCP that is known here")
    return version


def cancelled(request_id: bytes) -> bytes:
    """The message that nobody waits for a request any more: a closed connection does not say it."""
    return notification("notifications/cancelled", b'{"requestId":%b}' % request_id)


def reply_to(message: bytes) -> bytes | None:
    """The answer to what a server asks: `ping` is answered, all else was not offered."""
    parts = cut(message)
    if parts.method is None or not parts.id:
        return None
    return result(parts.id, b"{}") if parts.method == "ping" else error(parts.id, _NO_METHOD)


class HttpSession:
    """A session over Streamable HTTP; calls run side by side, each a POST of its own."""

    def __init__(self, pool: Pool, target: Target, headers: Mapping[str, str]) -> None:
        self._pool, self._target = pool, target
        self._opened_with = dict(headers)
        self._own = dict(_BASE)

    @classmethod
    async def open(cls, pool: Pool, target: Target, headers: Mapping[str, str]) -> Self:
        """Shake hands. Raises as `Pool.send` and `read_answer` do."""
        session = cls(pool, target, headers)
        request_id = next_id()
        body = request(request_id, "initialize", hello())
        async with pool.send(
            target, "POST", {**headers, **session._own}, body, is_repeatable=True
        ) as response:
            answer = await read_answer(response, target, request_id)
            given = response.headers.get(SESSION.lower())
        session._own["MCP-Protocol-Version"] = agreed_version(answer, target)
        if given:
            session._own[SESSION] = given
        await session._tell(notification("notifications/initialized"), headers)
        return session

    async def request(
        self,
        request_id: bytes,
        method: str,
        params: bytes,
        headers: Mapping[str, str],
        on_message: OnMessage | None = None,
    ) -> Answer:
        """Send one request; what the server asks meanwhile is answered here."""

        async def seen(message: bytes) -> None:
            if (reply := reply_to(message)) is not None:
                await self._tell(reply, headers)
            elif on_message is not None:
                await on_message(message)

        try:
            async with self._pool.send(
                self._target,
                "POST",
                {**headers, **self._own},
                request(request_id, method, params),
                is_repeatable=is_repeatable(method),
            ) as response:
                answer = await read_answer(response, self._target, request_id, seen)
        except RefusedRequestError as fault:
            raise self._read(fault) from fault
        if self._is_unknown(answer):
            raise SessionLostError.of(self._target.name)
        return answer

    async def cancel(self, request_id: bytes, headers: Mapping[str, str]) -> None:
        """See `Session.cancel`."""
        await self._tell(cancelled(request_id), headers)

    async def close(self) -> None:
        """End the session at the server, where it has an id."""
        if SESSION not in self._own:
            return
        headers = {**self._opened_with, **self._own}
        try:
            async with self._pool.send(self._target, "DELETE", headers):
                pass
        except AppError as fault:
            _log.info("%s: a session was not closed: %s", self._target.name, fault.message)

    async def _tell(self, message: bytes, headers: Mapping[str, str]) -> None:
        async with self._pool.send(
            self._target, "POST", {**headers, **self._own}, message, is_repeatable=True
        ) as response:
            raise_for_status(response, self._target)

    def _read(self, fault: RefusedRequestError) -> AppError:
        if fault.http_status == _SESSION_GONE and SESSION in self._own:
            return SessionLostError.of(self._target.name)
        return fault

    def _is_unknown(self, answer: Answer) -> bool:
        """Whether the server refused, unread, a request of a session it does not know."""
        if SESSION not in self._own or answer.error is None:
            return False
        if answer.status == _SESSION_GONE:
            return error_code(answer.error) != -32601
        is_bad = answer.status == _BAD_REQUEST and b"ession" in answer.error
        return is_bad and error_code(answer.error) in _NO_SESSION_CODES
