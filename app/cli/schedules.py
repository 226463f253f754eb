"""`uaol schedules`: jobs at the moments of cron expressions."""

import json
from typing import Any
from uuid import UUID

import click

from app.cli import make_console, run_async
from app.cli.queue import asked
from app.cli.view import table
from app.kernel.errors import AppError, Code

_id = click.argument("schedule_id", type=click.UUID)


@click.group()
def schedules() -> None:
    """Submit jobs by the clock."""


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise AppError(Code.INVALID_INPUT, f"That is not JSON: {error}.") from error
    if not isinstance(value, dict):
        raise AppError(Code.INVALID_INPUT, "A JSON object is needed.")
    return value


@schedules.command("create")
@click.argument("name")
@click.argument("cron")
@click.option("--tool", help="The full name of a tool to call.")
@click.option("--template", help="A task template to run.")
@click.option("--workflow", help="A saved workflow to run; the newest version of each moment.")
@click.option("--input", "text", default="{}", help="Its arguments or input, as JSON.")
@click.option("--time-zone", default="UTC", help="Such as Europe/Berlin.")
@click.option("--catch-up", type=click.Choice(["skip", "one", "all"]), default="one")
@click.option("--overlap", type=click.Choice(["allow", "skip"]), default="allow")
@click.option("--priority", type=click.IntRange(-2, 2), default=0)
def create(
    name: str,
    cron: str,
    tool: str | None,
    template: str | None,
    workflow: str | None,
    text: str,
    **more: Any,
) -> None:
    """Make schedule NAME that submits a job at the moments of CRON (five fields, quoted)."""
    given = {"tool": tool, "template": template, "workflow": workflow}
    named = {form: value for form, value in given.items() if value is not None}
    if len(named) != 1:
        raise click.UsageError("Give one of --tool, --template and --workflow.")
    job = {**named, "input" if tool is None else "arguments": _object(text)}

    async def work() -> None:
        made = await asked("schedules.create", name=name, cron=cron, **job, **more)
        make_console().print(f"{made['schedule_id']} is next at {made['next_at']}.", markup=False)

    run_async(work())


@schedules.command("list")
@click.option("--json", "is_json", is_flag=True, help="JSON on stdout.")
def list_schedules(is_json: bool) -> None:
    """List the newest schedules."""

    async def work() -> None:
        found = (await asked("schedules.list"))["schedules"]
        if is_json:
            click.echo(json.dumps(found, indent=2))
            return
        rows = [
            [
                one["schedule_id"],
                one["name"],
                f"{one['cron']} {one['time_zone']}",
                "paused" if one["is_paused"] else one["next_at"],
                (one["last_error"] or {}).get("code", ""),
            ]
            for one in found
        ]
        columns = ["schedule", "name", "cron", "next", "last error"]
        make_console().print(table("Schedules", columns, rows))

    run_async(work())


@schedules.command("show")
@_id
def show(schedule_id: UUID) -> None:
    """Show a schedule and its newest moments, as JSON."""

    async def work() -> None:
        found = await asked("schedules.show", schedule_id=str(schedule_id))
        click.echo(json.dumps(found, indent=2))

    run_async(work())


def _act(tool: str, schedule_id: UUID, words: str, **more: Any) -> None:
    async def work() -> None:
        await asked(tool, schedule_id=str(schedule_id), **more)
        make_console().print(f"{schedule_id} {words}.")

    run_async(work())


@schedules.command("pause")
@_id
def pause(schedule_id: UUID) -> None:
    """Pause a schedule."""
    _act("schedules.pause", schedule_id, "is paused")


@schedules.command("resume")
@_id
def resume(schedule_id: UUID) -> None:
    """Go on from the next moment."""
    _act("schedules.resume", schedule_id, "goes on")


@schedules.command("delete")
@_id
def delete(schedule_id: UUID) -> None:
    """Delete a schedule; its jobs stay."""
    _act("schedules.delete", schedule_id, "is deleted")


@schedules.command("backfill")
@_id
@click.argument("first")
@click.argument("last")
def backfill(schedule_id: UUID, first: str, last: str) -> None:
    """Submit the jobs of past moments from FIRST to LAST (RFC 3339) that have none."""

    async def work() -> None:
        span = {"from": first, "to": last}
        done = await asked("schedules.backfill", schedule_id=str(schedule_id), **span)
        for one in done["moments"]:
            became = one["job_id"] or (one["error"] or {}).get("code")
            make_console().print(f"{one['moment']} {one['outcome']} {became}", markup=False)
        make_console().print(f"{len(done['moments'])} moments.")

    run_async(work())


@schedules.command("preview")
@click.argument("cron")
@click.option("--time-zone", default="UTC", help="Such as Europe/Berlin.")
def preview(cron: str, time_zone: str) -> None:
    """Show the next five moments of CRON (five fields, quoted)."""
    # Needs no server: the same code as behind the interface.
    from app.kernel.clock import SystemClock
    from app.orchestration import preview as moments_of

    for moment in moments_of(cron, time_zone, SystemClock().now()):
        click.echo(moment.isoformat())
