"""`uaol key`: make, list and revoke API keys of the local user."""

from uuid import UUID

import click

from app.cli import make_console, run_async
from app.cli.session import issue_key, local_user
from app.cli.view import table
from app.kernel.principal import SERVICE
from app.kernel.settings import load_settings


@click.group()
def key() -> None:
    """Make, list and revoke API keys of the local user."""


@key.command("new")
@click.option("--name", default="local", show_default=True)
def new(name: str) -> None:
    """Make a key and print it, once."""
    from app.wiring import opened

    async def work() -> None:
        async with opened(load_settings()) as services:
            secret, _ = await issue_key(services, await local_user(services), name, is_brief=False)
        click.echo(secret)

    run_async(work())


@key.command("list")
def list_keys() -> None:
    """List the keys."""
    from app.wiring import opened

    async def work() -> None:
        async with opened(load_settings()) as services:
            user_id = await local_user(services)
            async with services.database.begin(SERVICE) as uow:
                keys = await services.auth.list_keys(uow, user_id)
        rows = [
            [k.key_id, k.name, f"{k.prefix}...", "revoked" if k.revoked_at else "valid"]
            for k in keys
        ]
        make_console().print(table("API keys", ["id", "name", "key", "state"], rows))

    run_async(work())


@key.command("revoke")
@click.argument("key_id", type=click.UUID)
def revoke(key_id: UUID) -> None:
    """Make a key useless."""
    from app.wiring import opened

    async def work() -> None:
        async with opened(load_settings()) as services:
            user_id = await local_user(services)
            async with services.database.begin(SERVICE) as uow:
                await services.auth.revoke_key(uow, user_id, key_id)
        make_console().print(f"{key_id} is revoked.")

    run_async(work())
