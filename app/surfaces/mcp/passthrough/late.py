"""Answers on a stream that goes on after its own broke off.

Their call was given up when its stream ended, so nothing is held for it any more. It is paid for
when its answer is fetched, in the transaction that records it: once, however often and in however
many processes the same answer is fetched, and not at all if it was paid for on its own stream.
"""

from uuid import UUID

from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal
from app.proxy import RawResult, cut
from app.surfaces.mcp.passthrough.charged import UnpaidAnswerError, read_final, refusal
from app.surfaces.mcp.passthrough.eventids import Asked
from app.surfaces.mcp.passthrough.listing import approved
from app.surfaces.operations import Operations
from app.surfaces.toolcharges import is_charged, usage_of


class LateAnswers:
    """What of a message on a resumed stream goes on to the client."""

    def __init__(self, operations: Operations) -> None:
        self._ops = operations

    async def edited(
        self, principal: Principal, server: str, asked: Asked | None, message: bytes
    ) -> bytes:
        """The message; what takes its place if it answers what its stream was not asked."""
        try:
            parts = cut(message)
        except ValueError:
            return message
        if not parts.is_answer:
            return message
        if asked is None or parts.id not in (asked.sent_id, b"null", b""):
            return refusal(parts.id or b"null", _astray())
        if asked.call_id is not None:
            return await self._paid(principal, server, asked.call_id, asked.tool, message)
        if asked.method == "tools/list":
            return approved(message, server, principal, self._ops.services.registry.snapshot())
        return message

    async def _paid(
        self, principal: Principal, server: str, call_id: UUID, tool: str, message: bytes
    ) -> bytes:
        try:
            result = read_final(message, server)
            await self._pay(principal, call_id, f"{server}.{tool}", result)
        except UnpaidAnswerError:
            return message
        except AppError as error:
            return refusal(cut(message).id, error)
        return message

    async def _pay(self, principal: Principal, call_id: UUID, name: str, raw: RawResult) -> None:
        services = self._ops.services
        tool = services.registry.snapshot().resolve(name)
        result = services.proxy.read(tool, raw)
        took = {"wall_ms": 0, "bytes_in": 0, "bytes_out": result.usage.bytes_out}
        usage = usage_of(call_id, principal.owner, tool, took, is_error=result.is_error)
        price = tool.price_micro if is_charged(tool, is_error=result.is_error) else 0
        # What this process has leased and does not need is the wallet's again.
        await self._ops.calls.charges.flush(principal)
        async with self._ops.access.write(principal) as uow:
            await services.billing.pay_once(uow, usage, price)


def _astray() -> AppError:
    return AppError(
        Code.TOOL_PROTOCOL_ERROR,
        "The server answered on a stream that was not asked this.",
        hint="The fault is the server's; call again.",
    )
