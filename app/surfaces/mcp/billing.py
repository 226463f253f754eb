"""`billing.*`: what something costs, and what is left."""

from typing import Annotated, Any

from pydantic import Field

from app.kernel.errors import AppError, Code
from app.kernel.principal import Scope
from app.surfaces.charging import BillingMode, Charging, MaxCredits
from app.surfaces.mcp.calls import Call
from app.surfaces.mcp.owntools import OwnTool
from app.surfaces.operations import Operations
from app.surfaces.payloads import Payload, Text
from app.surfaces.views import QuoteOut, WalletOut


class Quoted(Payload):
    """Exactly one of the two."""

    template: Annotated[Text | None, Field(description="A task template's name.")] = None
    tool: Annotated[Text | None, Field(description="A tool's full name.")] = None
    billing: BillingMode = "outcome"
    max_credits: MaxCredits = None


class NoArguments(Payload):
    """No arguments."""


class BillingTools:
    """The handlers, over the operations both doors share."""

    def __init__(self, operations: Operations) -> None:
        self._ops = operations

    def tools(self) -> list[OwnTool[Any]]:
        """The tools of this family."""
        return [
            OwnTool("billing.get_quote", _QUOTE, Quoted, QuoteOut, None, self.quote),
            OwnTool(
                "billing.get_wallet", _WALLET, NoArguments, WalletOut, Scope.BILLING, self.wallet
            ),
        ]

    async def quote(self, call: Call, given: Quoted) -> QuoteOut:
        """The price of a template or a tool."""
        charging = Charging.of(given.billing, given.max_credits)
        by, ops = call.principal, self._ops
        if given.template is not None and given.tool is None:
            return QuoteOut.of(await ops.quote(by, "template", given.template, charging))
        if given.tool is not None and given.template is None:
            return QuoteOut.of(await ops.quote(by, "tool", given.tool, charging))
        raise AppError(
            Code.INVALID_INPUT,
            "A quote is for a template or for a tool.",
            hint="Give exactly one of `template` and `tool`.",
        )

    async def wallet(self, call: Call, _given: NoArguments) -> WalletOut:
        """The caller's credits."""
        return WalletOut.of(await self._ops.wallet(call.principal))


_QUOTE = (
    "What one success of a task template, or one answered call of a tool, costs at most; with"
    " billing=usage the estimate of a run that is charged for what it uses."
)
_WALLET = "The caller's credits: free, held by runs, spent. In micro-credits (1 credit = 10^6)."
