"""`uaol task`: run task templates, list jobs, repeat one and compare."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from app.billing import credits_text
from app.cli import make_console, run_async
from app.cli.rerun import rerun_job
from app.cli.run import file_fields, follow, run_task, trace, upload_files
from app.cli.session import Session, open_session
from app.cli.view import table, trace_svg
from app.kernel.errors import AppError
from app.kernel.settings import load_settings

_TYPES: Mapping[str, Any] = {"integer": int, "number": float, "boolean": bool}


def _quiet(_message: str) -> None:
    return None


def _option(
    name: str, field: Mapping[str, Any], *, is_file: bool, is_required: bool
) -> click.Option:
    is_list = field.get("type") == "array"
    flag = "--input" if is_file and is_required else f"--{name.replace('_', '-')}"
    if is_list:
        flag = flag.removesuffix("s")
    kind: Any = _TYPES.get(str(field.get("type")), str)
    if is_file:
        kind = click.Path(exists=True, dir_okay=False, path_type=Path)
    elif "enum" in field:
        kind = click.Choice(field["enum"])
    return click.Option(
        [flag, name],
        type=kind,
        multiple=is_list,
        required=is_required,
        help=str(field.get("description", "")),
    )


def _template_command(name: str) -> click.Command | None:
    from app.agents import Templates

    try:
        template = Templates().get(name)
    except AppError:
        return None
    schema = template.input_schema()
    files, required = file_fields(schema), schema.get("required", [])
    options: list[click.Parameter] = [
        _option(key, field, is_file=key in files, is_required=key in required)
        for key, field in schema["properties"].items()
    ]
    options += [
        click.Option(
            ["--out", "_out"], type=click.Path(path_type=Path), help="Folder for the files."
        ),
        click.Option(["--json", "_json"], is_flag=True, help="Only report.json on stdout."),
        click.Option(["--idempotency-key", "_key"], help="Repeat safely: same key, same job."),
    ]

    def call(**given: Any) -> None:
        values = {key: given[key] for key in schema["properties"] if given[key] not in (None, ())}
        run_async(_run(name, schema, values, given))

    return click.Command(name, callback=call, params=options, help=template.description)


async def _run(
    name: str, schema: Mapping[str, Any], values: Mapping[str, Any], given: Mapping[str, Any]
) -> None:
    console = make_console(is_error=given["_json"])
    async with open_session(load_settings(), _quiet) as session:
        ready = await upload_files(session.connection, schema, values)
        job = await run_task(
            session.connection, name, ready, console, idempotency_key=given["_key"]
        )
        console.print(f"Charged {credits_text(job['charged_micro'] or 0)} credits.")
        await _deliver(session, job, given)


async def _deliver(session: Session, job: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    if given["_out"] is not None:
        for path in await session.connection.download(job["job_id"], given["_out"]):
            make_console(is_error=True).print(f"wrote {path}", soft_wrap=True)
    if not given["_json"]:
        return
    for file in await session.connection.files(job["job_id"]):
        if file["name"] == "report.json":
            sys.stdout.buffer.write(await session.connection.read(file["file_id"]))
            sys.stdout.buffer.flush()


class _Templates(click.Group):
    """A command for each task template."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        from app.agents import Templates

        return [template.name for template in Templates().all()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        return _template_command(cmd_name)


@click.group()
def task() -> None:
    """Run and look at tasks."""


@task.group("run", cls=_Templates)
def run_group() -> None:
    """Run a task template; `uaol task run NAME --help` shows its options."""


@task.command("list")
@click.option("--limit", default=20, show_default=True)
@click.option("--json", "is_json", is_flag=True, help="JSON on stdout.")
def list_tasks(limit: int, is_json: bool) -> None:
    """List the newest jobs."""

    async def work() -> None:
        async with open_session(load_settings(), _quiet) as session:
            jobs = (await session.connection.get("/v1/jobs", limit=limit))["jobs"]
        if is_json:
            click.echo(json.dumps(jobs, indent=2))
            return
        rows = [
            [
                job["job_id"],
                job["template"] or job["kind"],
                job["status"],
                job["start_time"][:19],
                credits_text(job["charged_micro"] or 0),
            ]
            for job in jobs
        ]
        make_console().print(table("Jobs", ["job", "task", "status", "start", "charged"], rows))

    run_async(work())


@task.command("templates")
def list_templates() -> None:
    """List the tasks that can be run, with their prices."""
    from app.agents import Templates

    rows = [[t.name, t.title, credits_text(t.price_micro)] for t in Templates().all()]
    make_console().print(table("Tasks", ["name", "title", "credits per success"], rows))


@task.command("trace")
@click.argument("job")
@click.option("--json", "is_json", is_flag=True, help="JSON lines on stdout.")
@click.option("--svg", type=click.Path(path_type=Path), help="Write the trace as a picture.")
def show_trace(job: str, is_json: bool, svg: Path | None) -> None:
    """Show a job's trace, and follow it while it runs."""

    async def work() -> None:
        async with open_session(load_settings(), _quiet) as session:
            if not is_json and svg is None:
                await follow(session.connection, job, make_console(), f"job {job}")
                return
            events = [event async for event in trace(session.connection, job)]
        if svg is not None:
            svg.write_text(trace_svg(events, f"job {job}"), encoding="utf-8")
        for event in events if is_json else ():
            click.echo(json.dumps(event))

    run_async(work())


@task.command("cancel")
@click.argument("job")
def cancel(job: str) -> None:
    """Cancel a job; its credits are released."""

    async def work() -> None:
        async with open_session(load_settings(), _quiet) as session:
            view = await session.connection.call("bio_agent.cancel_task", {"job_id": job})
        make_console().print(f"{job}: {view['status']}")

    run_async(work())


@task.command("rerun")
@click.argument("job")
def rerun(job: str) -> None:
    """Run a job again and compare every file with the first run's."""

    async def work() -> None:
        async with open_session(load_settings(), _quiet) as session:
            await rerun_job(session.connection, job, make_console())

    run_async(work())
