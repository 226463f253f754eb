"""Which era a server speaks: asked once with `server/discover`, kept, and forgotten when wrong.

Whatever is no clear sign of 2026-07-28 means the older handshake. A server that cannot be reached
or refuses the credentials has said nothing about its era.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping

import msgspec

from app.kernel.errors import AppError
from app.proxy.credentials import UpstreamRefusedError
from app.proxy.wire.faults import RefusedRequestError, UnreachableError
from app.proxy.wire.modern import VERSION, call_modern
from app.proxy.wire.pool import Pool
from app.proxy.wire.types import Answer, Era, Target

_KEPT = 10_000
_ASK_S = 5.0
_UNSUPPORTED_VERSION = -32022
_REFUSALS = (400, 404, 405)


class _Discovered(msgspec.Struct):
    supportedVersions: list[str] = []  # noqa: N815 - the wire's own name


class _Error(msgspec.Struct):
    code: int = 0


class _Supported(msgspec.Struct):
    supported: list[str] = []


class _Unsupported(msgspec.Struct):
    data: _Supported


class Eras:
    """The eras of the servers this process has talked to, by URL."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._known: OrderedDict[str, Era] = OrderedDict()
        self._asking: dict[str, asyncio.Lock] = {}

    async def of(self, target: Target, headers: Mapping[str, str]) -> Era:
        """The server's era. Raises what a server raises that cannot be asked."""
        if (known := self.known(target) or _given(target)) is not None:
            return known
        lock = self._asking.setdefault(target.url, asyncio.Lock())
        try:
            async with lock:
                if (known := self.known(target)) is not None:
                    return known
                era, is_sure = await self._ask(target, headers)
                if is_sure:
                    self.note(target, era)
                return era
        finally:
            if not lock.locked():
                self._asking.pop(target.url, None)

    def known(self, target: Target) -> Era | None:
        """What was found out of the server, as far as anything was."""
        return self._known.get(target.url)

    def note(self, target: Target, era: Era) -> None:
        """Remember what somebody else found out."""
        self._known[target.url] = era
        self._known.move_to_end(target.url)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)

    def forget(self, target: Target) -> None:
        """Ask again at the next request."""
        self._known.pop(target.url, None)

    async def _ask(self, target: Target, headers: Mapping[str, str]) -> tuple[Era, bool]:
        """The era, and whether it will stay so: a server that fails may do better later."""
        try:
            async with asyncio.timeout(_ASK_S):
                answer = await call_modern(
                    self._pool, target, "server/discover", b"{}", name=None, headers=headers
                )
        except (UnreachableError, UpstreamRefusedError):
            raise
        except TimeoutError:
            return "legacy", False
        except AppError as error:
            return "legacy", isinstance(error, RefusedRequestError)
        return ("modern", True) if _is_modern(answer) else ("legacy", True)


def _given(target: Target) -> Era | None:
    return "legacy" if target.transport == "sse" else target.era


def _is_modern(answer: Answer) -> bool:
    if answer.body is None:
        return names_ours(answer)
    try:
        found = msgspec.json.decode(answer.body, type=_Discovered)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return VERSION in found.supportedVersions


def error_code(error: bytes | None) -> int | None:
    """The code in a raw JSON-RPC error."""
    if error is None:
        return None
    try:
        return msgspec.json.decode(error, type=_Error).code
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def names_ours(outcome: Answer | AppError) -> bool:
    """Whether a server refused a version, unread, and names the one that is spoken here."""
    if isinstance(outcome, AppError) or error_code(outcome.error) != _UNSUPPORTED_VERSION:
        return False
    try:
        found = msgspec.json.decode(outcome.error or b"", type=_Unsupported)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return VERSION in found.data.supported


def is_wrong_era(outcome: Answer | AppError) -> bool:
    """Whether a server refused a request, unread, for the way it was put."""
    if isinstance(outcome, AppError):
        return isinstance(outcome, RefusedRequestError) and outcome.http_status in _REFUSALS
    return outcome.status in _REFUSALS and error_code(outcome.error) == _UNSUPPORTED_VERSION
