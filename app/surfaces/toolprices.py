"""What tools cost, asked of the ledger once for as long as the registry's snapshot stands."""

from collections.abc import Collection

from app.billing import Quote
from app.kernel.errors import AppError
from app.kernel.principal import Principal
from app.registry import Snapshot
from app.surfaces.context import Access
from app.surfaces.services import Services


class ToolPrices:
    """Quotes of tools. A price is published together with a new snapshot, and the snapshot is
    read again every few seconds, so no quote is older than that.
    """

    def __init__(self, services: Services, access: Access) -> None:
        self._services = services
        self._access = access
        self._snapshot: Snapshot | None = None
        self._known: dict[str, Quote] = {}

    async def of(self, principal: Principal, names: Collection[str]) -> dict[str, Quote | AppError]:
        """The quote of each tool by its full name, or `price_unknown`."""
        snapshot = self._services.registry.snapshot()
        if snapshot is not self._snapshot:
            self._snapshot, self._known = snapshot, {}
        known = self._known
        quotes: dict[str, Quote | AppError] = {n: known[n] for n in names if n in known}
        if missing := [name for name in names if name not in known]:
            async with self._access.write(principal) as uow:
                for name in missing:
                    try:
                        quotes[name] = known[name] = await self._services.billing.quote(
                            uow, "tool", name
                        )
                    except AppError as error:
                        quotes[name] = error
        return quotes
