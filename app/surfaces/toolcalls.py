"""A tool called directly by a user: hold the price, call, settle. The same order for both doors."""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any
from uuid import UUID

from app.billing import Hold, Usage
from app.kernel.ids import new_id
from app.kernel.principal import Principal, Scope
from app.proxy import ToolCall, ToolResult
from app.registry import Tool
from app.surfaces.context import Access
from app.surfaces.payloads import check_json
from app.surfaces.services import Services

# Beyond the tool's own time-out: queueing, restarts of its server, settling.
_MARGIN_S = 300.0


class ToolCalls:
    """Runs one tool call outside any job. Only an answer is charged: no error of any kind is."""

    def __init__(self, services: Services, access: Access) -> None:
        self._services = services
        self._access = access
        self._settling: set[asyncio.Task[int]] = set()

    async def call(
        self,
        principal: Principal,
        name: str,
        arguments: Mapping[str, Any],
        idempotency_key: str | None = None,
    ) -> tuple[ToolResult, int]:
        """The tool's result and the micro-credits charged for it."""
        principal.require(Scope.TOOLS)
        check_json(arguments)
        tool = self._services.registry.snapshot().resolve(name)
        call_id = new_id()
        await self._hold(principal, call_id, tool)
        try:
            result = await self._services.proxy.call(
                ToolCall(
                    principal=principal,
                    name=tool.full_name,
                    arguments=arguments,
                    idempotency_key=idempotency_key or str(call_id),
                )
            )
        except BaseException:
            await self._surely(self._settle(principal, call_id, tool, None))
            raise
        return result, await self._surely(self._settle(principal, call_id, tool, result))

    async def _surely(self, settling: Coroutine[Any, Any, int]) -> int:
        """Settle to the end, even if the caller goes away, which cancels its own task only."""
        task = asyncio.create_task(settling, name="settle-tool-call")
        self._settling.add(task)
        task.add_done_callback(self._settling.discard)
        return await asyncio.shield(task)

    async def drain(self) -> None:
        """Wait for the settlements under way; called before the database is closed."""
        await asyncio.gather(*self._settling, return_exceptions=True)

    async def _hold(self, principal: Principal, call_id: UUID, tool: Tool) -> None:
        if tool.price_micro > 0:
            async with self._access.write(principal) as uow:
                lifetime_s = tool.timeout_s + _MARGIN_S
                hold = Hold(call_id, principal.owner, tool.price_micro, lifetime_s)
                await self._services.billing.hold(uow, hold)

    async def _settle(
        self, principal: Principal, call_id: UUID, tool: Tool, result: ToolResult | None
    ) -> int:
        is_charged = result is not None and not result.is_error and tool.price_micro > 0
        if result is None and tool.price_micro == 0:
            return 0
        billing = self._services.billing
        async with self._access.write(principal) as uow:
            if is_charged:
                await billing.capture(uow, call_id, tool.price_micro)
            elif tool.price_micro > 0:
                await billing.release(uow, call_id)
            if result is not None:
                await billing.meter(uow, [_usage(principal, call_id, tool, result)])
        return tool.price_micro if is_charged else 0


def _usage(principal: Principal, call_id: UUID, tool: Tool, result: ToolResult) -> Usage:
    usage = result.usage
    quantities = {
        "wall_ms": usage.wall_ms,
        "bytes_in": usage.bytes_in,
        "bytes_out": usage.bytes_out,
        "version_sha": usage.version_sha,
        "is_error": result.is_error,
    }
    return Usage(new_id(), principal.owner, None, str(call_id), "tool", tool.full_name, quantities)
