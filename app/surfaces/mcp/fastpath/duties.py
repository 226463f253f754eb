"""What is done for every call, in this order.

Limits, schema, credits, secrets, the upstream, its answer's size and shape, settling, metering;
who calls, and whether headers and body agree, was asked before.
"""

import time
from collections.abc import Mapping
from typing import Any, Protocol
from uuid import UUID

from app.billing import Promise
from app.kernel.errors import AppError
from app.kernel.principal import Principal
from app.proxy import FastCalls, FastResult, Route
from app.surfaces.mcp.frames import Asked
from app.surfaces.mcp.results import failure
from app.surfaces.payloads import check_json
from app.surfaces.problems import unexpected
from app.surfaces.toolcharges import ToolCharges


class Frame(Protocol):
    """Makes responses of one era."""

    def answered(
        self, request_id: bytes, content: bytes, structured: bytes | None, charged_micro: int
    ) -> bytes:
        """The response of a tool that answered."""
        ...

    def refused(self, request_id: bytes, result: Mapping[str, Any]) -> bytes:
        """The response of a call that failed."""
        ...


class Duties:
    """Carries calls."""

    def __init__(self, calls: FastCalls, charges: ToolCharges) -> None:
        self._calls = calls
        self._charges = charges

    def route(self, name: str) -> Route | None:
        """The way to a tool, by its full name; None for all that is not plain and remote."""
        return self._calls.route(name)

    async def answer(
        self, principal: Principal, asked: Asked, route: Route, call_id: UUID, framing: Frame
    ) -> bytes:
        """The response as bytes, whatever happens."""
        began, outcome = time.perf_counter(), "ok"
        try:
            check_json(asked.arguments)
            await self._calls.admit(principal, route, asked.arguments)
            promise = await self._charges.promise(principal, route.tool, call_id)
            result, charged = await self._carried(principal, asked, route, promise)
        except AppError as error:
            outcome = error.code.value
            return framing.refused(asked.id, failure(error))
        except Exception as error:  # noqa: BLE001 - the border; its cause is in the log
            told = unexpected(error, f"tools/call {asked.name}")
            outcome = told.code.value
            return framing.refused(asked.id, failure(told))
        finally:
            self._calls.observe(route, outcome, time.perf_counter() - began)
        if result.error is not None:
            return framing.refused(asked.id, failure(result.error, charged))
        return framing.answered(asked.id, result.content, result.structured, charged)

    async def _carried(
        self, principal: Principal, asked: Asked, route: Route, promise: Promise
    ) -> tuple[FastResult, int]:
        """The tool's answer and what it cost; without one nothing is charged."""
        try:
            result = await self._calls.carry(principal, route, asked.arguments)
        except BaseException:
            self._charges.refund(promise)
            raise
        took = {
            "wall_ms": result.wall_ms,
            "bytes_in": len(asked.raw),
            "bytes_out": result.bytes_out,
        }
        is_error = result.error is not None
        return result, self._charges.settle(promise, route.tool, took, is_error=is_error)
