"""`uaol queue`: what the queue holds, and stopping and starting a kind of job (operators)."""

import json
from typing import Any

import click

from app.cli import make_console, run_async
from app.cli.session import open_session
from app.cli.view import table
from app.kernel.settings import load_settings


def quiet(_message: str) -> None:
    """Say nothing of how a session is opened."""


async def asked(name: str, /, **arguments: Any) -> dict[str, Any]:
    """The answer of one of the platform's own tools."""
    async with open_session(load_settings(), quiet) as session:
        return await session.connection.call(name, arguments)


@click.group()
def queue() -> None:
    """Look at the queue; pause and resume kinds of jobs (operators)."""


def _state(one: dict[str, Any]) -> str:
    if not one["is_paused"]:
        return "open"
    return f"paused: {one['reason']}" if one["reason"] else "paused"


@queue.command("show")
@click.option("--json", "is_json", is_flag=True, help="JSON on stdout.")
def show(is_json: bool) -> None:
    """Show the queue by kind of job; each number is counted up to 10,000."""

    async def work() -> None:
        found = await asked("queues.list")
        if is_json:
            click.echo(json.dumps(found, indent=2))
            return
        rows = [
            [one["kind"], one["ready"], one["running"], f"{one['oldest_s']:.1f} s", _state(one)]
            for one in found["queues"]
        ]
        columns = ["kind", "ready", "running", "oldest", "state"]
        make_console().print(table("Queue", columns, rows))
        later = f"{found['future']} due later, {found['waiting']} waiting"
        make_console().print(f"{later}, {found['limited']} behind limits")

    run_async(work())


@queue.command("pause")
@click.argument("kind")
@click.option("--reason", default="", help="Why; shown to whoever looks.")
def pause(kind: str, reason: str) -> None:
    """Start no job of KIND until it is resumed; those that run go on."""

    async def work() -> None:
        await asked("queues.pause", kind=kind, reason=reason)
        make_console().print(f"{kind} is paused.")

    run_async(work())


@queue.command("resume")
@click.argument("kind")
def resume(kind: str) -> None:
    """Start jobs of KIND again."""

    async def work() -> None:
        await asked("queues.resume", kind=kind)
        make_console().print(f"{kind} is open.")

    run_async(work())
