"""`uaol serve`, `up`, `worker`, `migrate`: the processes of the platform."""

import asyncio
import contextlib
import json
import signal
from contextlib import AbstractAsyncContextManager
from typing import Any

import click
from rich.console import Console

from app.cli import make_console, run_async
from app.cli.session import LOCAL_EMAIL, issue_key, local_user
from app.kernel.errors import AppError, Code
from app.kernel.memory import settle_memory
from app.kernel.principal import SERVICE
from app.kernel.settings import Settings, load_settings
from app.kernel.telemetry import configure_logging

_KEY_NAME = "local"


@contextlib.contextmanager
def _stopping(event: asyncio.Event) -> Any:
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, event.set)
    try:
        yield
    finally:
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(name)


def _platform(
    settings: Settings, console: Console, *, has_worker: bool
) -> AbstractAsyncContextManager[Any]:
    from app.wiring import running

    def progress(message: str) -> None:
        console.print(f"{message} ...", style="dim")

    return running(settings, progress, has_worker=has_worker)


async def _serve(settings: Settings, *, has_worker: bool, is_guided: bool) -> None:
    from app.main import create_app
    from app.surfaces.listening import bind, listening

    console, stop = make_console(is_error=not is_guided), asyncio.Event()
    sock = bind(settings.host, settings.port)
    with _stopping(stop):
        async with (
            _platform(settings, console, has_worker=has_worker) as services,
            listening(create_app(services), settings, sock) as url,
        ):
            settle_memory()
            console.print(f"Serving at [bold]{settings.public_url or url}[/]  (Ctrl-C stops)")
            if is_guided:
                await _guide(services, settings.public_url or url, console)
            await stop.wait()
            console.print("Stopping ...", style="dim")


async def _guide(services: Any, url: str, console: Console) -> None:
    """Print the API key, once, and what to paste into MCP clients."""
    user_id = await local_user(services)
    async with services.database.begin(SERVICE) as uow:
        keys = await services.auth.list_keys(uow, user_id)
    known = [key for key in keys if key.name == _KEY_NAME and key.revoked_at is None]
    if known:
        secret = "<your API key>"
        console.print(
            f"API key: {known[0].prefix}...  (shown in full when it was made;"
            " `uaol key new` makes another)"
        )
    else:
        secret, _ = await issue_key(services, user_id, _KEY_NAME, is_brief=False)
        console.print("API key of the local user, shown only this once:")
        console.print(f"  {secret}", style="bold", soft_wrap=True)
    console.print(f"MCP endpoint: {url}/mcp  (user {LOCAL_EMAIL})\n")
    for name, text in client_configurations(f"{url}/mcp", secret).items():
        console.print(name, style="bold")
        console.print(text, markup=False, soft_wrap=True)


def client_configurations(url: str, key: str) -> dict[str, str]:
    """The configuration to paste into each MCP client, by client and file."""
    # On Windows a space inside an argument is lost.
    header = "Authorization:${UAOL_AUTHORIZATION}"
    remote = {
        "command": "npx",
        "args": ["-y", "mcp-remote", url, "--transport", "http-only", "--header", header],
        "env": {"UAOL_AUTHORIZATION": f"Bearer {key}"},
    }
    desktop = {"mcpServers": {"uaol": remote}}
    cursor = {"mcpServers": {"uaol": {"url": url, "headers": {"Authorization": f"Bearer {key}"}}}}
    code = {
        "servers": {
            "uaol": {"type": "http", "url": url, "headers": {"Authorization": f"Bearer {key}"}}
        }
    }
    return {
        "Claude Desktop (claude_desktop_config.json)": json.dumps(desktop, indent=2),
        "Cursor (.cursor/mcp.json)": json.dumps(cursor, indent=2),
        "VS Code (.vscode/mcp.json)": json.dumps(code, indent=2),
    }


@click.command()
@click.option("--worker/--no-worker", default=True, help="Also run jobs in this process.")
def serve(worker: bool) -> None:
    """Serve HTTP and MCP, with a worker unless told otherwise."""
    settings = load_settings()
    configure_logging(settings.log_level)
    run_async(_serve(settings, has_worker=worker, is_guided=False))


@click.command()
def up() -> None:
    """Serve until Ctrl-C, with a key and the configuration for MCP clients."""
    run_async(_serve(load_settings(), has_worker=True, is_guided=True))


async def _work(settings: Settings) -> None:
    console, stop = make_console(is_error=True), asyncio.Event()
    with _stopping(stop):
        async with _platform(settings, console, has_worker=True):
            settle_memory()
            console.print("Working  (Ctrl-C stops)")
            await stop.wait()


@click.command()
def worker() -> None:
    """Run jobs; any number of workers may share one database."""
    settings = load_settings()
    configure_logging(settings.log_level)
    run_async(_work(settings))


@click.command()
@click.option(
    "--bootstrap",
    "is_bootstrap",
    is_flag=True,
    help="First make the roles and schemas that Supabase has (plain PostgreSQL only).",
)
def migrate(is_bootstrap: bool) -> None:
    """Bring the database to the newest revision."""
    from app.kernel.embedded import bootstrap
    from app.kernel.migrate import upgrade
    from app.wiring import open_hub

    settings = load_settings()

    async def work() -> None:
        async with open_hub(settings) as address:
            if address.is_embedded:
                return
            if is_bootstrap:
                await asyncio.to_thread(bootstrap, address.owner_dsn)
            try:
                await asyncio.to_thread(upgrade, address.owner_dsn)
            except Exception as error:
                raise AppError(
                    Code.HUB_UNAVAILABLE,
                    f"The migration failed: {error}",
                    hint="On a plain PostgreSQL run `uaol migrate --bootstrap` as a superuser.",
                ) from error

    run_async(work())
    make_console().print("The database is at the newest revision.")


COMMANDS = {"serve": serve, "up": up, "worker": worker, "migrate": migrate}
