"""One attempt: the message is signed and sent, and the answer says what comes next."""

import asyncio
import random
from datetime import UTC
from typing import Any

import httpx2
import orjson

from app import __version__
from app.kernel.clock import Clock
from app.kernel.crypto import unseal
from app.kernel.egress import EgressDeniedError
from app.kernel.errors import AppError
from app.orchestration.webhooks import signing
from app.orchestration.webhooks.types import Attempt, Result

WAITS_S = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
"""After the first attempt, the second, ...: 3 days and 3 hours in all."""
_JITTER = 0.2
_CONNECT_S = 5.0
_TOTAL_S = 15.0
_ANSWER_BYTES = 4096
_GONE = 410
_REASONS = {
    httpx2.ConnectTimeout: "It could not be connected to in time.",
    httpx2.TimeoutException: "It did not answer in time.",
    httpx2.ConnectError: "It could not be connected to.",
    httpx2.TransportError: "The connection broke off.",
}


class Sender:
    """Sends by one transport, which must be a guarded one: the URLs are users'."""

    def __init__(
        self,
        transport: httpx2.AsyncBaseTransport,
        key: bytes,
        clock: Clock,
        *,
        total_s: float = _TOTAL_S,
    ) -> None:
        self._transport = transport
        self._key = key
        self._clock = clock
        self._total_s = total_s

    async def send(self, attempt: Attempt) -> Result:
        """Make the attempt; never raises but to be cancelled."""
        try:
            request = self._request(attempt)
            async with asyncio.timeout(self._total_s):
                code = await self._answer(request)
        except TimeoutError:
            return _failed(attempt, None, _REASONS[httpx2.TimeoutException])
        except EgressDeniedError as error:
            return _failed(attempt, None, f"It may not be connected to: {error}.")
        except httpx2.HTTPError as error:
            reason = next(text for kind, text in _REASONS.items() if isinstance(error, kind))
            return _failed(attempt, None, reason)
        except AppError as error:
            return _failed(attempt, None, error.message)
        except Exception as error:  # noqa: BLE001 - what an endpoint answers may be anything
            return _failed(attempt, None, f"It could not be sent: {type(error).__name__}.")
        return _judged(attempt, code)

    def _request(self, attempt: Attempt) -> httpx2.Request:
        body, message_id = body_of(attempt), str(attempt.delivery_id)
        context = attempt.webhook_id.bytes
        signed_by = [unseal(self._key, sealed, context) for sealed in attempt.sealed]
        timestamp = int(self._clock.now().timestamp())
        times: dict[str, Any] = dict.fromkeys(("read", "write", "pool"), self._total_s)
        return httpx2.Request(
            "POST",
            attempt.url,
            headers={
                "content-type": "application/json",
                "user-agent": f"uaol/{__version__}",
                **signing.headers(signed_by, message_id, timestamp, body),
            },
            content=body,
            extensions={"timeout": {**times, "connect": _CONNECT_S}},
        )

    async def _answer(self, request: httpx2.Request) -> int:
        # Not a client: one would keep cookies of endpoints and unpack what they compress.
        response = await self._transport.handle_async_request(request)
        try:
            size = 0
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            async for chunk in response.stream:
                size += len(chunk)
                if size > _ANSWER_BYTES:
                    break
        except httpx2.TransportError:
            # The status has been said; what follows it is not needed.
            return response.status_code
        finally:
            await response.aclose()
        return response.status_code


def body_of(attempt: Attempt) -> bytes:
    """The message: the same bytes at every attempt."""
    moment = attempt.created_at.astimezone(UTC).isoformat(timespec="milliseconds")
    message = {
        "type": attempt.type,
        "timestamp": moment.replace("+00:00", "Z"),
        "data": dict(attempt.data),
    }
    return orjson.dumps(message, option=orjson.OPT_SORT_KEYS)


def _judged(attempt: Attempt, code: int) -> Result:
    if 200 <= code < 300:
        return Result(attempt, "delivered", code, None)
    if code == _GONE:
        return Result(attempt, "failed", code, "It answered with HTTP 410 (gone).", is_gone=True)
    return _failed(attempt, code, f"It answered with HTTP {code}.")


def _failed(attempt: Attempt, code: int | None, reason: str) -> Result:
    if attempt.turn > len(WAITS_S):
        return Result(attempt, "failed", code, reason)
    wait_s = WAITS_S[attempt.turn - 1] * random.uniform(1 - _JITTER, 1 + _JITTER)
    return Result(attempt, "pending", code, reason, wait_s)
