"""The wire between host and runner; `sandbox/runner.py` is the other end.

Host to runner: messages, each a length of four bytes and a marshalled dict. First the room; then
for each task its own, with the bytes of its input files behind it, and the nonce only after `E`,
so that it never is where user code can be. The stream's end is the end of the host.

Runner to host: frames, each a kind of one byte, a length of four, and a payload. `W` it is ready
(the version of its Python); `R` user code starts (seconds of CPU spent so far, not the task's);
`o` and `e` its output; `p` a picture it shows (two bytes of length, name, bytes); `v` the last
expression's text; `E` it ended (`k`: the session goes on); `T` the report: the nonce and
length-prefixed fields; `f` the output files' bytes in the report's order, no frame across two.
The host trusts no figure in it.
"""

import asyncio
import hashlib
import hmac
import marshal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from app.sandbox.policy import output_name_problem
from app.sandbox.types import Limits, OutputFile, Status, Usage

READY, STARTED, ENDED, REPORT, CONTENT = b"W", b"R", b"E", b"T", b"f"
STDOUT, STDERR, PICTURE, VALUE = b"o", b"e", b"p", b"v"
GOES_ON = b"k"
NONCE_BYTES = 16
CHUNK = 2**16
_PICTURE_NAME_BYTES = 200
_PICTURE_BYTES = 2**24
_FIELDS_BYTES, _ENTRY_BYTES = 2**20, 512
_MOST: Mapping[bytes, int] = {
    READY: 64, STARTED: 64, ENDED: 1, STDOUT: CHUNK, STDERR: CHUNK, VALUE: CHUNK, CONTENT: CHUNK,
    PICTURE: 2 + _PICTURE_NAME_BYTES + _PICTURE_BYTES,
}  # fmt: skip
# Only what a runner can know; the other statuses are the host's to give.
_REPORTED = ("ok", "error", "timeout", "oom", "killed")


class FrameError(Exception):
    """The runner's answer is not one: wrong kind, nonce, size, name or form."""


@dataclass(frozen=True)
class Report:
    """What the runner said of a task, checked. `entries` are names and sizes of its files."""

    status: Status
    exit_code: int
    usage: Usage
    entries: tuple[tuple[str, int], ...]
    dropped: tuple[str, ...]


def message(content: Mapping[str, Any]) -> bytes:
    """A message to the runner: plain values only."""
    body = marshal.dumps(dict(content), 2)
    return len(body).to_bytes(4, "big") + body


async def read_frame(reader: asyncio.StreamReader, limits: Limits) -> tuple[bytes, bytes]:
    """The next frame's kind and payload.

    Raises FrameError for an unknown kind or too long a payload, which is not read, and
    asyncio.IncompleteReadError when the runner has gone.
    """
    head = await reader.readexactly(5)
    kind, size = head[:1], int.from_bytes(head[1:], "big")
    most = _FIELDS_BYTES + _ENTRY_BYTES * limits.files if kind == REPORT else _MOST.get(kind, -1)
    if size > most:
        raise FrameError(f"{size} bytes of {kind!r}")
    return kind, await reader.readexactly(size) if size else b""


async def expect(reader: asyncio.StreamReader, limits: Limits, kind: bytes) -> bytes:
    """The payload of the next frame, which must be of that kind. Raises as `read_frame`."""
    found, payload = await read_frame(reader, limits)
    if found != kind:
        raise FrameError(f"{found!r} instead of {kind!r}")
    return payload


def read_picture(payload: bytes) -> OutputFile:
    """The picture of a `p` frame. Raises FrameError for a name that is none."""
    end = 2 + int.from_bytes(payload[:2], "big")
    try:
        name = payload[2:end].decode()
    except UnicodeDecodeError:
        raise FrameError("a picture's name is not UTF-8") from None
    problem = "is cut" if end > len(payload) else output_name_problem(name)
    if problem or "/" in name:
        raise FrameError(f"a picture's name {problem or 'is a path'}")
    content = payload[end:]
    return OutputFile(name, hashlib.sha256(content).hexdigest(), len(content), content)


def read_report(payload: bytes, nonce: bytes, limits: Limits) -> Report:
    """Check the report in a `T` frame. Raises FrameError when it is wrong."""
    if not hmac.compare_digest(payload[:NONCE_BYTES], nonce):
        raise FrameError("the nonce is wrong")
    try:
        fields = _split(payload[NONCE_BYTES:])
        status, exit_code, cpu, wall, peak, count = (next(fields) for _ in range(6))
        entries = tuple((next(fields), int(next(fields))) for _ in range(int(count)))
        usage = Usage(float(cpu), float(wall), int(peak))
        code = int(exit_code)
        dropped = tuple(fields)
    except (ValueError, StopIteration, RuntimeError) as error:
        raise FrameError("the fields are malformed") from error
    if status not in _REPORTED:
        raise FrameError(f"the status {status!r}")
    _check_entries(entries, limits)
    return Report(cast("Status", status), code, usage, entries, dropped)


async def read_files(
    reader: asyncio.StreamReader, report: Report, limits: Limits
) -> tuple[OutputFile, ...]:
    """The files that the report names. Raises as `read_frame`."""
    files = []
    for name, size in report.entries:
        content = bytearray()
        while len(content) < size:
            part = await expect(reader, limits, CONTENT)
            content += part
            if not part or len(content) > size:
                raise FrameError("an output is not of its size")
        digest = await _digest(content)
        files.append(OutputFile(name, digest, size, bytes(content)))
    return tuple(files)


def _check_entries(entries: tuple[tuple[str, int], ...], limits: Limits) -> None:
    sizes = [size for _, size in entries]
    if len(entries) > limits.files or min(sizes, default=0) < 0 or sum(sizes) > limits.output_bytes:
        raise FrameError("more output than allowed")
    if len({name for name, _ in entries}) != len(entries):
        raise FrameError("an output twice")
    for name, _ in entries:
        if problem := output_name_problem(name):
            raise FrameError(f"an output's {problem}")


async def _digest(content: bytearray) -> str:
    if len(content) < 4 * CHUNK:
        return hashlib.sha256(content).hexdigest()
    return (await asyncio.to_thread(hashlib.sha256, content)).hexdigest()


def _split(data: bytes) -> Iterator[str]:
    position = 0
    while position < len(data):
        end = position + 4 + int.from_bytes(data[position : position + 4], "big")
        if end > len(data):
            raise ValueError("a field is cut")
        yield data[position + 4 : end].decode()
        position = end
