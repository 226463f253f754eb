"""`uaol servers`: registered servers, and what operators decide about them."""

import json
from typing import Any

import click

from app.billing import credits_text
from app.cli import make_console, run_async
from app.cli.queue import asked
from app.cli.view import table


@click.group()
def servers() -> None:
    """Look at registered servers; approve and disable them (operators)."""


def _row(one: dict[str, Any]) -> list[str]:
    state = one["status"] if one["deprecated"] is None else f"{one['status']}, deprecated"
    price = credits_text(one["offer"]["price_micro"])
    return [one["slug"], one["name"], state, price, one["reason"] or ""]


@servers.command("list")
@click.option("--status", help="Only Draft, Pending, Approved or Disabled ones.")
@click.option("--mine", is_flag=True, help="Only my own.")
@click.option("--json", "is_json", is_flag=True, help="JSON on stdout.")
def list_servers(status: str | None, mine: bool, is_json: bool) -> None:
    """List the servers of all developers, newest first."""

    async def work() -> None:
        found = await asked("registry.list_servers", status=status, everyones=not mine, limit=100)
        if is_json:
            click.echo(json.dumps(found["servers"], indent=2))
            return
        columns = ["slug", "name", "status", "credits", "reason"]
        rows = [_row(one) for one in found["servers"]]
        make_console().print(table("Servers", columns, rows))

    run_async(work())


@servers.command("diff")
@click.argument("slug")
@click.option("--before", help="A version; else the approved one.")
@click.option("--after", help="A version, or `live`; else the newest.")
def diff(slug: str, before: str | None, after: str | None) -> None:
    """Show what differs between two versions of server SLUG."""

    async def work() -> None:
        found = await asked("registry.diff", slug=slug, before=before, after=after)
        click.echo(found["text"])

    run_async(work())


@servers.command("approve")
@click.argument("name")
def approve(name: str) -> None:
    """Approve the version of server NAME that waits, or the tool NAME as it is now."""

    async def work() -> None:
        await asked("registry.approve", name=name)
        make_console().print(f"{name} is approved.")

    run_async(work())


@servers.command("disable")
@click.argument("name")
@click.option("--reason", required=True, help="Why; the developer reads it.")
def disable(name: str, reason: str) -> None:
    """Switch server or tool NAME off until it is approved again."""

    async def work() -> None:
        await asked("registry.disable", name=name, reason=reason)
        make_console().print(f"{name} is disabled.")

    run_async(work())
