"""What is offered and at which price, made known when servers and templates are."""

from collections.abc import Sequence

from app.billing import Billing
from app.kernel.db import Database
from app.kernel.principal import SERVICE
from app.proxy import OnListed
from app.registry import Registry, ServerConfig, ToolDefinition
from app.surfaces.services import Services


def catalogue(database: Database, registry: Registry, billing: Billing) -> OnListed:
    """Pins what a server offers, shows it, and publishes its prices; at every start of a server."""

    async def listed(server: ServerConfig, definitions: Sequence[ToolDefinition]) -> None:
        async with database.begin(SERVICE) as uow:
            # As it was when the connection was made: what was listed is not of another address.
            report = await registry.pin(uow, server, definitions)
            await registry.follow(uow)
            server = await registry.current(uow, server)
            for one in definitions:
                # A registered server's other prices came with its approval and its offers.
                if not server.is_guarded or one.full_name in report.added:
                    price = server.prices.of(one.name)
                    await billing.publish_price(uow, "tool", one.full_name, price)

    return listed


async def publish_templates(services: Services) -> None:
    """Publish the prices of the task templates."""
    async with services.database.begin(SERVICE) as uow:
        for template in services.templates.all():
            await services.billing.publish_price(
                uow, "template", template.name, template.price_micro
            )
            if template.usage_rates:
                await services.billing.publish_usage(
                    uow, "template", template.name, template.usage_rates
                )


async def retire_servers(services: Services) -> None:
    """Take away the tools of servers that are not configured any more."""
    keep = {server.name for server in services.proxy.health()}
    async with services.database.begin(SERVICE) as uow:
        await services.registry.retire(uow, keep)
        await services.registry.refresh(uow)
