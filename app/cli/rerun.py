"""Repeating a job and comparing what came out, byte by byte but for the times."""

from typing import Any

import orjson
from rich.console import Console

from app.cli.connection import Connection
from app.cli.run import ended, run_task
from app.cli.view import table
from app.kernel.errors import AppError, Code

_TIMES = {"times", "started_at", "finished_at"}


def without_times(value: Any) -> Any:
    """JSON without the fields that say when."""
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key not in _TIMES}
    if isinstance(value, list):
        return [without_times(item) for item in value]
    return value


def is_same(name: str, first: bytes, second: bytes) -> bool:
    """Whether two files are equal; JSON is compared without its times."""
    if first == second:
        return True
    if not name.endswith(".json"):
        return False
    return bool(without_times(orjson.loads(first)) == without_times(orjson.loads(second)))


async def _contents(connection: Connection, job_id: str) -> dict[str, bytes]:
    return {
        file["name"]: await connection.read(file["file_id"])
        for file in await connection.files(job_id)
    }


async def rerun_job(connection: Connection, job_id: str, console: Console) -> None:
    """Run a job's definition again, compare, and raise `check_failed` where they differ."""
    first = await ended(connection, job_id)
    second = await run_task(connection, first["template"], first["input"], console)
    before = await _contents(connection, job_id)
    after = await _contents(connection, str(second["job_id"]))
    same = {
        name: name in before and name in after and is_same(name, before[name], after[name])
        for name in sorted(before.keys() | after.keys())
    }
    rows = [[name, "same" if is_equal else "DIFFERS"] for name, is_equal in same.items()]
    console.print(table(f"Job {second['job_id']} repeats it", ["file", "content"], rows))
    wrong = [name for name, is_equal in same.items() if not is_equal]
    if wrong:
        raise AppError(
            Code.CHECK_FAILED,
            f"The second run differs in {', '.join(wrong)}.",
            hint="Compare the versions in both provenance.json files.",
        )
