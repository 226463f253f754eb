"""What direct calls of tools cost: promised of leased credits, charged in memory, written together.

Only an answer is charged: no fault is, and a tool's own refusal only where its definition says so.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from app.billing import Blocks, Promise, Usage
from app.kernel.principal import Principal
from app.registry import Tool


def usage_of(
    call_id: UUID, user_id: UUID, tool: Tool, quantities: Mapping[str, Any], *, is_error: bool
) -> Usage:
    """An answered call as it is metered: once, so its own id will do."""
    told = {**quantities, "version_sha": tool.definition.sha256, "is_error": is_error}
    return Usage(call_id, user_id, None, str(call_id), "tool", tool.full_name, told)


def is_charged(tool: Tool, *, is_error: bool) -> bool:
    """Whether an answer costs the tool's price; a refusal does only if the tool declares it."""
    return not is_error or tool.definition.declared.is_error_charged


class ToolCharges:
    """Charges calls against the leases of this process."""

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks

    async def promise(
        self, principal: Principal, tool: Tool, call_id: UUID | None = None
    ) -> Promise:
        """Set the tool's price aside. Raises `insufficient_credits`, `hub_unavailable`."""
        return await self._blocks.promise(principal.owner, tool.price_micro, call_id)

    def refund(self, promise: Promise) -> None:
        """The call got no answer: it costs nothing and leaves no trace."""
        self._blocks.settle(promise, None, is_charged=False)

    def settle(
        self, promise: Promise, tool: Tool, quantities: Mapping[str, Any], *, is_error: bool
    ) -> int:
        """The call was answered; the micro-credits charged. `quantities` is what it took."""
        usage = usage_of(promise.call_id, promise.user_id, tool, quantities, is_error=is_error)
        charged = is_charged(tool, is_error=is_error)
        return self._blocks.settle(promise, usage, is_charged=charged)

    async def flush(self, principal: Principal) -> None:
        """Return when the charges of this user so far are durable. Raises `hub_unavailable`."""
        await self._blocks.flush(principal.owner)

    async def close(self) -> None:
        """Write what is left and give the leases back."""
        await self._blocks.close()
