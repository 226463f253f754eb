"""Running a task from the terminal: upload its files, submit, follow the trace, fetch the end."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from app.cli.connection import Connection
from app.cli.view import TraceView
from app.kernel.errors import AppError, app_error

_PAGE = 50


def file_fields(schema: Mapping[str, Any]) -> dict[str, bool]:
    """The fields of an input schema that take files; True for those that take several."""
    found = {}
    for name, field in schema.get("properties", {}).items():
        options = [field, *field.get("anyOf", [])]
        if any(option.get("format") == "file" for option in options):
            found[name] = False
        elif any(option.get("items", {}).get("format") == "file" for option in options):
            found[name] = True
    return found


async def upload_files(
    connection: Connection, schema: Mapping[str, Any], values: Mapping[str, Any]
) -> dict[str, Any]:
    """The input with each local path replaced by the id of the uploaded file."""
    ready = dict(values)
    for name, is_list in file_fields(schema).items():
        if name not in ready:
            continue
        if is_list:
            ready[name] = [await connection.upload(Path(path)) for path in ready[name]]
        else:
            ready[name] = await connection.upload(Path(ready[name]))
    return ready


async def trace(connection: Connection, job_id: str) -> AsyncIterator[dict[str, Any]]:
    """The job's trace up to its end, as it grows."""
    after, is_over = 0, False
    while not is_over:
        page = await connection.call(
            "bio_agent.stream_trace",
            {"job_id": job_id, "after_seq": after, "wait": True, "max_events": _PAGE},
        )
        for event in page["events"]:
            yield event
        after, is_over = page["next_seq"], page["is_terminal"]


async def follow(connection: Connection, job_id: str, console: Console, title: str) -> None:
    """Show a run until it ends."""
    with TraceView(console, title) as view:
        async for event in trace(connection, job_id):
            view.add(event)


async def run_task(
    connection: Connection,
    template: str,
    values: Mapping[str, Any],
    console: Console,
    *,
    idempotency_key: str | None = None,
) -> dict[str, Any]:
    """Submit a task, show it, and give the ended job; raises its error if it did not succeed."""
    arguments = {"template": template, "input": dict(values)}
    if idempotency_key:
        arguments["idempotency_key"] = idempotency_key
    submitted = await connection.call("bio_agent.run_task", arguments)
    job_id = str(submitted["job_id"])
    await follow(connection, job_id, console, f"{template}  job {job_id}")
    return await ended(connection, job_id)


async def ended(connection: Connection, job_id: str) -> dict[str, Any]:
    """An ended job; raises its error if it did not succeed."""
    job = await connection.get(f"/v1/jobs/{job_id}")
    if job["status"] != "Success":
        raise job_error(job)
    return job


def job_error(job: Mapping[str, Any]) -> AppError:
    """The reason a job did not succeed."""
    error = job.get("error") or {}
    made = app_error(
        str(error.get("code", "internal")),
        str(error.get("message", f"The job ended as {job['status']}.")),
        error.get("hint"),
    )
    made.details.update({"job_id": str(job["job_id"]), **(error.get("details") or {})})
    return made
