"""`uaol vault`: the keys that secrets are wrapped with (operators)."""

import click

from app.cli import make_console, run_async
from app.kernel.settings import load_settings


@click.group()
def vault() -> None:
    """The keys that secrets are wrapped with."""


@vault.command()
@click.option("--no-new-key", is_flag=True, help="Only wrap again what older keys still wrap.")
def rotate(no_new_key: bool) -> None:
    """Make a new key and wrap every secret's data key with it; calls go on meanwhile.

    May be stopped and run again at any time (then with --no-new-key).
    """
    from app.surfaces.secrets import safe_of
    from app.wiring import opened

    async def work() -> None:
        async with opened(load_settings()) as services:
            keeper = safe_of(services).keeper
            if not no_new_key:
                await keeper.vault.rotate_key()
            wrapped, unreadable = await keeper.rewrap_all()
            current = await keeper.vault.current_key()
        console = make_console()
        console.print(f"{wrapped} secrets are wrapped by {current} now.", markup=False)
        if unreadable:
            console.print(f"{unreadable} cannot be opened and stay as they are.", style="yellow")

    run_async(work())
