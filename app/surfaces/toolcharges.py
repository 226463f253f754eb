"""What direct calls of tools cost: promised of leased credits, charged in memory, written together.

Only an answer is charged: no fault is, and a tool's own refusal only where its definition says so.
"""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from app.billing import Blocks, Promise, Usage
from app.kernel.principal import Principal
from app.registry import Tool


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
        usage = Usage(
            # A call is metered once, so its id will do.
            promise.call_id,
            promise.user_id,
            None,
            str(promise.call_id),
            "tool",
            tool.full_name,
            {**quantities, "version_sha": tool.definition.sha256, "is_error": is_error},
        )
        is_charged = not is_error or tool.definition.declared.is_error_charged
        return self._blocks.settle(promise, usage, is_charged=is_charged)

    async def flush(self, principal: Principal) -> None:
        """Return when the charges of this user so far are durable. Raises `hub_unavailable`."""
        await self._blocks.flush(principal.owner)

    async def close(self) -> None:
        """Write what is left and give the leases back."""
        await self._blocks.close()
