"""Whether jobs may name the endpoints they do. Only jobs that name one pay for this."""

from collections.abc import Collection, Mapping
from uuid import UUID

from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal
from app.surfaces.context import Access
from app.surfaces.services import Services


async def refused_webhooks(
    services: Services, access: Access, principal: Principal, named: Collection[UUID]
) -> Mapping[UUID, AppError]:
    """Those of the endpoints that jobs of the principal may not name, and why."""
    webhooks = services.webhooks
    if webhooks is None:
        return {one: AppError(Code.NOT_FOUND, f"There is no webhook {one}.") for one in named}
    unknown = [one for one in named if not webhooks.recall(principal.owner, one)]
    refused: dict[UUID, AppError] = {}
    if unknown:
        async with access.read(principal) as uow:
            for one in unknown:
                try:
                    await webhooks.require(uow, principal.owner, one)
                except AppError as error:
                    refused[one] = error
    return refused


async def require_webhook(
    services: Services, access: Access, principal: Principal, webhook: UUID | None
) -> None:
    """Raise `not_found` or `invalid_input` if a job of the principal may not name it."""
    if webhook is None:
        return
    for error in (await refused_webhooks(services, access, principal, [webhook])).values():
        raise error
