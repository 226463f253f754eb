"""`uaol retention`: the partitions of jobs, what is due, and dropping it (operators)."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from app.cli import make_console, run_async
from app.cli.view import table
from app.kernel.settings import load_settings

if TYPE_CHECKING:
    from app.orchestration import Applied, Partition

_MIB = 2**20


@click.command()
@click.option("--apply", "is_applied", is_flag=True, help="Make and drop what is due now.")
@click.option("--json", "is_json", is_flag=True, help="JSON on stdout.")
def retention(is_applied: bool, is_json: bool) -> None:
    """Show the partitions of jobs and what is due to be dropped; with --apply, do it.

    Servers do the same by themselves once an hour; UAOL_RETENTION_DAYS says what is kept.
    """
    from app.orchestration import Retention
    from app.wiring import opened

    async def work() -> None:
        async with opened(load_settings()) as services:
            keeper = Retention(services.database, keep_days=services.settings.retention_days)
            done = await keeper.apply() if is_applied else None
            found, due = await keeper.partitions(), {one.name for one in await keeper.due()}
        if is_json:
            click.echo(_as_json(found, due, done))
            return
        _show(found, due)
        if done is not None:
            _tell(done)

    run_async(work())


def _as_json(found: "Sequence[Partition]", due: set[str], done: "Applied | None") -> str:
    rows = [asdict(one) | {"is_due": one.name in due} for one in found]
    applied = None if done is None else asdict(done)
    return json.dumps({"partitions": rows, "applied": applied}, indent=2, default=str)


def _show(found: "Sequence[Partition]", due: set[str]) -> None:
    rows: list[list[Any]] = [
        [
            one.name,
            one.first or "",
            one.until or "",
            one.row_estimate,
            f"{one.bytes / _MIB:.1f} MiB",
            _state(one, is_due=one.name in due),
        ]
        for one in found
    ]
    columns = ["partition", "from", "to before", "rows (estimate)", "size", "state"]
    make_console().print(table("Partitions", columns, rows))


def _state(one: "Partition", *, is_due: bool) -> str:
    if is_due:
        return "due to be dropped"
    return "has living jobs" if one.is_living else ""


def _tell(done: "Applied") -> None:
    console = make_console()
    console.print(f"{len(done.made)} made, {len(done.dropped)} dropped: {', '.join(done.dropped)}")
    for name, count in done.deleted.items():
        console.print(f"{count} rows of {name} deleted")
    for span in done.crowded:
        console.print(f"not made, too many rows in the rest: {span}", style="yellow")
