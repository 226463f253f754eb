"""What to do next, in the words of whoever wrote the code: a sentence for each way it can end."""

import signal
from collections.abc import Iterator

from app.sandbox import Limits, TaskResult, TaskSpec

_SHOWN_DROPS, _SHOWN_INPUTS = 5, 20
_NO_NETWORK = (
    "Temporary failure in name resolution", "Name or service not known", "Network is unreachable",
)  # fmt: skip


def notes(spec: TaskSpec, result: TaskResult, ceiling_s: float) -> list[str]:
    """The sentences for one result; `ceiling_s` is the longest that any task may run."""
    limits = spec.limits
    found = [*_of_status(result, limits, ceiling_s), *_of_drops(result, limits)]
    if result.status == "error":
        found += _of_error(spec, result)
    return found


def size(number: int) -> str:
    """Bytes for people."""
    for unit, bytes_each in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if number >= bytes_each:
            return f"{number / bytes_each:.4g} {unit}"
    return f"{number} bytes"


def _of_status(result: TaskResult, limits: Limits, ceiling_s: float) -> Iterator[str]:
    if result.status == "ok":
        return
    code = result.exit_code
    by = f" by {_signal(-code)}" if result.status == "error" and code and code < 0 else ""
    yield f"The code ended with status {result.status}{by}."
    if result.status == "timeout":
        longer = (
            f", and `timeout_s` may be up to {ceiling_s:g}" if limits.wall_s < ceiling_s else ""
        )
        yield f"It had {limits.wall_s:g} seconds{longer}: do less in one call."
    elif result.status == "oom":
        yield f"It may use {size(limits.memory_bytes)} of memory: hold less of the data at once."
    elif result.status == "output_limit":
        most = size(limits.stdout_bytes)
        yield f"It may print {most}: print a summary and write the rest to /task/output."
    elif result.status == "killed":
        yield "Its processes were killed before it could end: run it again."


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _of_drops(result: TaskResult, limits: Limits) -> Iterator[str]:
    if not result.dropped:
        return
    named, more = result.dropped[:_SHOWN_DROPS], len(result.dropped) - _SHOWN_DROPS
    rest = f"; and {more} more, see `dropped`" if more > 0 else ""
    yield f"Not among the files: {'; '.join(named)}{rest}."
    yield f"There may be {limits.files} files of together {size(limits.output_bytes)}."


def _of_error(spec: TaskSpec, result: TaskResult) -> Iterator[str]:
    last = result.stderr.rstrip().rpartition("\n")[2]
    if last.startswith("ModuleNotFoundError"):
        yield "Name the package that has this module in `requirements`."
    elif last.startswith("FileNotFoundError"):
        given = ", ".join(f"/task/input/{file.name}" for file in spec.input_files[:_SHOWN_INPUTS])
        yield f"This call's `input_files`: {given or 'none'}."
    elif spec.egress is None and any(words in last for words in _NO_NETWORK):
        yield "The code has no network, unless `egress` names a policy."
