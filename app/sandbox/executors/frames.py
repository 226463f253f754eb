"""The wire between host and runner; `sandbox/runner.py` is the other end.

Host to runner, on a descriptor of its own: a length, a marshalled dict, the input files' bytes,
and the nonce only after `E`, so that it never is where user code can be. That descriptor stays
open until then: its end is the end of the host. Runner to host, on another: the marks `R` (user
code starts) and `E` (it ended, all its processes are dead), the nonce, then length-prefixed
fields and the output files' bytes. The host trusts no figure in it.
"""

import asyncio
import hashlib
import hmac
import marshal
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, cast

from app.kernel.errors import AppError, Code
from app.sandbox.policy import output_name_problem
from app.sandbox.types import Limits, OutputFile, Status, TaskSpec, Usage

READY, ENDED = b"R", b"E"
NONCE_BYTES = 16
_MAX_FIELDS_BYTES = 2**20
_CHUNK = 2**16
# Only what a runner can know; the other statuses are the host's to give.
_REPORTED = ("ok", "error", "timeout", "oom", "killed")


class FrameError(Exception):
    """The runner's answer is not one: wrong nonce, size, name or form."""


@dataclass(frozen=True)
class Report:
    """What the runner said, checked."""

    status: Status
    exit_code: int
    usage: Usage
    files: tuple[OutputFile, ...]
    dropped: tuple[str, ...]


@dataclass(frozen=True)
class OpenInput:
    """An input file, opened once: what was measured is what is sent."""

    name: str
    size: int
    file: IO[bytes]


def open_inputs(spec: TaskSpec) -> list[OpenInput]:
    """Open the input files. Raises AppError(INVALID_INPUT) for one that cannot be read."""
    opened: list[OpenInput] = []
    for item in spec.input_files:
        try:
            file = item.path.open("rb", buffering=0)
        except OSError as error:
            close_inputs(opened)
            raise AppError(
                Code.INVALID_INPUT,
                f"The input file {item.name!r} cannot be read: {error.strerror}.",
                hint="Upload it again.",
            ) from error
        opened.append(OpenInput(item.name, os.fstat(file.fileno()).st_size, file))
    return opened


def close_inputs(inputs: list[OpenInput]) -> None:
    """Close what `open_inputs` opened."""
    for item in inputs:
        item.file.close()


def task_frame(code: str, limits: Mapping[str, Any], inputs: list[OpenInput]) -> Iterator[bytes]:
    """The whole message to the runner in chunks. Raises FrameError if a file shrank."""
    head = {**limits, "code": code, "files": [(item.name, item.size) for item in inputs]}
    body = marshal.dumps(head, 2)
    yield len(body).to_bytes(4, "big") + body
    for item in inputs:
        yield from _exactly(item)


def _exactly(item: OpenInput) -> Iterator[bytes]:
    left = item.size
    while left:
        chunk = item.file.read(min(left, _CHUNK))
        if not chunk:
            raise FrameError(f"the input file {item.name!r} shrank while it was read")
        left -= len(chunk)
        yield chunk


async def read_report(reader: asyncio.StreamReader, nonce: bytes, limits: Limits) -> Report:
    """Read and check the runner's report.

    Raises FrameError when it is wrong, asyncio.IncompleteReadError when it stops midway.
    """
    if not hmac.compare_digest(await reader.readexactly(NONCE_BYTES), nonce):
        raise FrameError("the nonce is wrong")
    length = int.from_bytes(await reader.readexactly(4), "big")
    if length > _MAX_FIELDS_BYTES:
        raise FrameError(f"{length} bytes of fields")
    fields = _split(await reader.readexactly(length))
    try:
        status, exit_code, cpu, wall, peak, count = (next(fields) for _ in range(6))
        entries = [(next(fields), int(next(fields))) for _ in range(int(count))]
        usage = Usage(float(cpu), float(wall), int(peak))
        code = int(exit_code)
    except (ValueError, StopIteration, RuntimeError) as error:
        raise FrameError("the fields are malformed") from error
    if status not in _REPORTED:
        raise FrameError(f"the status {status!r}")
    dropped = tuple(fields)
    files = await _read_files(reader, entries, limits)
    return Report(cast("Status", status), code, usage, files, dropped)


async def _read_files(
    reader: asyncio.StreamReader, entries: list[tuple[str, int]], limits: Limits
) -> tuple[OutputFile, ...]:
    sizes = [size for _, size in entries]
    if len(entries) > limits.files or min(sizes, default=0) < 0 or sum(sizes) > limits.output_bytes:
        raise FrameError("more output than allowed")
    if len({name for name, _ in entries}) != len(entries):
        raise FrameError("an output twice")
    files = []
    for name, size in entries:
        if problem := output_name_problem(name):
            raise FrameError(f"an output's {problem}")
        content = await reader.readexactly(size)
        digest = (await asyncio.to_thread(hashlib.sha256, content)).hexdigest()
        files.append(OutputFile(name, digest, size, content))
    return tuple(files)


def _split(data: bytes) -> Iterator[str]:
    position = 0
    while position < len(data):
        end = position + 4 + int.from_bytes(data[position : position + 4], "big")
        if end > len(data):
            raise ValueError("a field is cut")
        yield data[position + 4 : end].decode()
        position = end
