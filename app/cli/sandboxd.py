"""`uaol sandboxd`: the process that holds the engine's socket, so that the server need not."""

import click

from app.cli import run_async
from app.kernel.settings import load_settings
from app.kernel.telemetry import configure_logging


@click.command()
def sandboxd() -> None:
    """Run code for servers that ask at UAOL_SANDBOX_DAEMON, and nothing else."""
    from app.sandbox import serve_daemon

    settings = load_settings()
    configure_logging(settings.log_level)
    run_async(serve_daemon(settings, click.echo))
