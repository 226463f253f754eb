"""A tool called directly by a user: promise the price, call, charge. The same for both doors."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from app.billing import Blocks
from app.kernel.clock import SystemClock
from app.kernel.errors import AppError
from app.kernel.principal import Principal, Scope
from app.proxy import Carrier, ToolCall, ToolResult, isolation_of
from app.surfaces.payloads import check_json
from app.surfaces.services import Services
from app.surfaces.toolcharges import ToolCharges

_log = logging.getLogger(__name__)


class ToolCalls:
    """Runs one tool call outside any job. Only an answer is charged: no error of any kind is."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.charges = ToolCharges(Blocks(services.database, SystemClock()))

    async def call(
        self,
        principal: Principal,
        name: str,
        arguments: Mapping[str, Any],
        idempotency_key: str | None = None,
        *,
        carrier: Carrier | None = None,
        call_id: UUID | None = None,
    ) -> tuple[ToolResult, int]:
        """The tool's result and the micro-credits charged for it.

        With a `carrier` somebody else sends the call; whatever it raises costs nothing.
        `call_id` is a new id under which the call is metered.
        """
        principal.require(Scope.TOOLS)
        check_json(arguments)
        tool = self._services.registry.snapshot().resolve(name)
        promise = await self.charges.promise(principal, tool, call_id)
        try:
            result = await self._services.proxy.call(
                ToolCall(
                    principal=principal,
                    name=tool.full_name,
                    arguments=arguments,
                    idempotency_key=idempotency_key or str(promise.call_id),
                    carrier=carrier,
                )
            )
        except BaseException as error:
            self.charges.refund(promise)
            if not isinstance(error, asyncio.CancelledError):
                await self._written(principal)
            raise
        usage = result.usage
        took = {
            "wall_ms": usage.wall_ms,
            "bytes_in": usage.bytes_in,
            "bytes_out": usage.bytes_out,
            **isolation_of(tool.full_name, result.structured),
        }
        charged = self.charges.settle(promise, tool, took, is_error=result.is_error)
        await self._written(principal)
        return result, charged

    async def _written(self, principal: Principal) -> None:
        """Wait for what the call changed in the wallet; a caller looks there next."""
        try:
            await self.charges.flush(principal)
        except AppError as error:
            # The answer is here; the charge is written when the database is back.
            _log.warning("charges wait", extra={"reason": error.message})

    async def drain(self) -> None:
        """Write what is left and give back what is leased, before the database is closed."""
        await self.charges.close()
