"""`uaol jobs`: the jobs of the user, those that were put aside, and putting them back."""

import json
from typing import Any
from uuid import UUID

import click

from app.billing import credits_text
from app.cli import make_console, run_async
from app.cli.queue import asked, quiet
from app.cli.session import open_session
from app.cli.view import table
from app.kernel.errors import AppError, Code
from app.kernel.settings import load_settings


@click.group()
def jobs() -> None:
    """List and cancel jobs; look at dead ones and redrive them."""


def _money(job: dict[str, Any]) -> str:
    charged = job["charged_micro"]
    return f"{credits_text(job['price_micro'])} held" if charged is None else credits_text(charged)


@jobs.command("list")
@click.option("--status", help="Only jobs in this state, such as Dead.")
@click.option("--kind", help="Only jobs of this kind.")
@click.option("--limit", default=20, type=click.IntRange(1, 100), help="How many at most.")
@click.option("--json", "is_json", is_flag=True, help="JSON on stdout.")
def list_jobs(status: str | None, kind: str | None, limit: int, is_json: bool) -> None:
    """List the newest jobs."""
    query = {"status": status, "kind": kind, "limit": limit}

    async def work() -> None:
        async with open_session(load_settings(), quiet) as session:
            wanted = {name: value for name, value in query.items() if value is not None}
            found = (await session.connection.get("/v1/jobs", **wanted))["jobs"]
        if is_json:
            click.echo(json.dumps(found, indent=2))
            return
        rows = [
            [
                job["job_id"],
                job["template"] or job["tool"] or job["kind"],
                job["status"],
                _money(job),
                job["start_time"],
            ]
            for job in found
        ]
        columns = ["job", "what", "status", "credits", "queued"]
        make_console().print(table("Jobs", columns, rows))

    run_async(work())


@jobs.command("cancel")
@click.argument("job_id", type=click.UUID)
def cancel(job_id: UUID) -> None:
    """Cancel a job; its credits come back."""

    async def work() -> None:
        job = await asked("bio_agent.cancel_task", job_id=str(job_id))
        make_console().print(f"{job_id} is {job['status']}.")

    run_async(work())


@jobs.command("dead")
@click.option("--cause", help="Only with this code of their last error.")
@click.option("--json", "is_json", is_flag=True, help="JSON on stdout.")
def dead(cause: str | None, is_json: bool) -> None:
    """List dead jobs that are not redriven, and how many there are of each cause."""
    arguments = {"open": True} | ({} if cause is None else {"cause": cause})

    async def work() -> None:
        found = await asked("dead_letters.list", **arguments)
        if is_json:
            click.echo(json.dumps(found, indent=2))
            return
        letters, causes = found["dead_letters"], found["causes"]
        rows = [[one["job_id"], one["kind"], one["cause"], one["created_at"]] for one in letters]
        console = make_console()
        console.print(table("Dead jobs", ["job", "kind", "cause", "since"], rows))
        for one in causes:
            console.print(f"{one['count']} x {one['cause']} ({one['kind']})", markup=False)

    run_async(work())


@jobs.command("redrive")
@click.argument("job_id", type=click.UUID, required=False)
@click.option("--all", "is_all", is_flag=True, help="All that fit, in batches.")
@click.option("--cause", help="Only with this code of their last error.")
def redrive(job_id: UUID | None, is_all: bool, cause: str | None) -> None:
    """Queue dead job JOB_ID again, or --all; prices are held again."""
    if (job_id is None) != is_all or (cause is not None and not is_all):
        raise click.UsageError("Give a JOB_ID, or --all and perhaps --cause.")

    async def work() -> None:
        if job_id is not None:
            _report((await asked("dead_letters.redrive", job_id=str(job_id)))["results"])
            return
        if _report(await _all(cause)):
            raise AppError(Code.CONFLICT, "Some dead jobs stay as they are.")

    run_async(work())


async def _all(cause: str | None) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    arguments = {} if cause is None else {"cause": cause}
    async with open_session(load_settings(), quiet) as session:
        while True:
            batch = await session.connection.call("dead_letters.redrive", arguments)
            results += batch["results"]
            if batch["next"] is None:
                return results
            arguments["after"] = batch["next"]


def _report(results: list[dict[str, Any]]) -> bool:
    """Print what became of dead jobs; whether any was refused."""
    console = make_console()
    for one in results:
        error = one.get("error")
        words = f"goes on as {one['redriven_as']}" if error is None else f"stays: {error['code']}"
        console.print(f"{one['job_id']} {words}", markup=False)
    if not results:
        console.print("There is nothing to redrive.")
    return any(one.get("error") for one in results)
