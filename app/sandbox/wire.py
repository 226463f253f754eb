"""The wire between `sandboxd` and its clients: one connection, one request.

A frame is a kind (1 byte), a length (4 bytes, big endian) and a payload, which is JSON but for
`f`, bytes of files. The client sends `H` (version, token, operation); for `run` and `stream` then
`T` (the task, with names and sizes of its input files) and the files' bytes. The daemon answers
with one of `c` (capabilities), `k` (done), `x` (refused), or with any number of `o`, `e` (text
printed) and `p` (a file shown, its bytes follow) and at last `E` (the result, its files' bytes
follow). Who lets go of the connection wants nothing more: its task is killed.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from app.kernel.errors import AppError, Code
from app.sandbox.types import (
    Capabilities,
    EgressCall,
    Ended,
    Event,
    IsolationError,
    OutputFile,
    Printed,
    Shown,
    TaskResult,
    TaskSpec,
    Usage,
)

VERSION = 1
CHUNK = 2**16
# A megabyte of code or of output may become six in JSON.
MOST_JSON = 64 * 2**20
HELLO, TASK, BYTES = b"H", b"T", b"f"
KNOWN, DONE, REFUSED, SHOWN, ENDED = b"c", b"k", b"x", b"p", b"E"
# Not the fault of who sent the task: the operator has to act.
_OPERATORS = (Code.SANDBOX_UNAVAILABLE, Code.UNAUTHENTICATED, Code.CONFIG_INVALID)
_PRINTED = {"stdout": b"o", "stderr": b"e"}
_STREAMS = {b"o": "stdout", b"e": "stderr"}


class WireError(Exception):
    """What came is not of this wire, or larger than it may be."""


@dataclass(frozen=True)
class Address:
    """Where a daemon listens: a Unix socket's path, or a host and a port."""

    path: str | None = None
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else f"tcp:{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """`unix:/path` or `tcp:host:port`. Raises AppError(CONFIG_INVALID) for anything else."""
    kind, _, rest = text.partition(":")
    if kind == "unix" and rest.startswith("/"):
        return Address(path=rest)
    host, _, port = rest.rpartition(":")
    if kind == "tcp" and host and port.isdecimal() and int(port) < 2**16:
        return Address(host=host.strip("[]"), port=int(port))
    raise AppError(
        Code.CONFIG_INVALID,
        f"{text!r} is no address of a sandboxd.",
        hint="Use unix:/run/uaol/sandboxd.sock or tcp:host:port.",
    )


def token_of(file: Path | None) -> Callable[[], str | None]:
    """What reads the token anew each time; a file that cannot be read lets nobody in.

    Without a file there is no token. Raises, when called, AppError(CONFIG_INVALID).
    """

    def read() -> str | None:
        if file is None:
            return None
        try:
            found = file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise _unreadable(file) from error
        if not found:
            raise _unreadable(file)
        return found

    return read


def _unreadable(file: Path) -> AppError:
    return AppError(
        Code.CONFIG_INVALID,
        f"The token of sandboxd cannot be read from {file}.",
        hint="UAOL_SANDBOX_DAEMON_TOKEN_FILE names a file with one line.",
    )


async def send(writer: asyncio.StreamWriter, kind: bytes, payload: bytes) -> None:
    """One frame, waiting while the other side is slow. Raises OSError once it is gone."""
    writer.write(kind + len(payload).to_bytes(4, "big") + payload)
    await writer.drain()


async def send_json(writer: asyncio.StreamWriter, kind: bytes, value: object) -> None:
    """One frame of JSON."""
    await send(writer, kind, json.dumps(value).encode())


async def receive(reader: asyncio.StreamReader, most: int = MOST_JSON) -> tuple[bytes, bytes]:
    """The next frame. Raises WireError if it is too large, EOFError if there is no more."""
    head = await reader.readexactly(5)
    length = int.from_bytes(head[1:], "big")
    if length > most:
        raise WireError(f"a frame of {length} bytes")
    return head[:1], await reader.readexactly(length)


def load_json(payload: bytes) -> Any:
    """What a payload says. Raises WireError."""
    try:
        return json.loads(payload)
    except ValueError as error:
        raise WireError("a payload is no JSON") from error


async def send_bytes(writer: asyncio.StreamWriter, content: bytes) -> None:
    """A file's bytes."""
    for start in range(0, len(content), CHUNK):
        await send(writer, BYTES, content[start : start + CHUNK])


async def receive_bytes(reader: asyncio.StreamReader, size: int) -> AsyncIterator[bytes]:
    """A file's bytes, as they come. Raises WireError if there are more or others."""
    while size:
        kind, data = await receive(reader, CHUNK)
        size -= len(data)
        if kind != BYTES or size < 0 or not data:
            raise WireError("not the bytes that were announced")
        yield data


def task_json(spec: TaskSpec, files: Iterable[tuple[str, int]]) -> dict[str, Any]:
    """A task with the names and sizes of its input files, whose paths are nobody's business."""
    plain = asdict(spec)
    del plain["input_files"]
    return {**plain, "files": list(files)}


async def send_event(writer: asyncio.StreamWriter, event: Event) -> None:
    """One event, with the bytes of the files in it."""
    match event:
        case Printed(stream, text):
            await send_json(writer, _PRINTED[stream], text)
        case Shown(file):
            await send_json(writer, SHOWN, _about(file))
            await send_bytes(writer, file.content)
        case Ended(result):
            await send_json(writer, ENDED, _result_json(result))
            for file in result.files:
                await send_bytes(writer, file.content)


async def receive_event(reader: asyncio.StreamReader) -> Event:
    """The next event. Raises what the daemon refused the task with, WireError or EOFError."""
    kind, payload = await receive(reader)
    value = load_json(payload)
    if kind in _STREAMS:
        return Printed(_STREAMS[kind], value)  # type: ignore[arg-type]
    if kind == SHOWN:
        return Shown(await _file(reader, value))
    if kind == ENDED:
        files = [await _file(reader, about) for about in value["files"]]
        return Ended(_result(value, files))
    raise refusal(kind, value)


def refusal(kind: bytes, value: Any) -> Exception:
    """The exception to raise for an answer that is not the one that was asked for."""
    if kind != REFUSED:
        return WireError(f"a frame of the kind {kind!r}")
    try:
        code, message, hint = Code(value["code"]), str(value["message"]), value["hint"]
        details = dict(value["details"])
    except (KeyError, TypeError, ValueError):
        return WireError("a refusal of another version: update client and daemon")
    if code in _OPERATORS:
        return IsolationError(message, hint or "")
    return AppError(code, message, hint=hint, details=details)


def error_json(error: AppError) -> dict[str, Any]:
    """An error as it travels."""
    details = dict(error.details)
    return {"code": error.code, "message": error.message, "hint": error.hint, "details": details}


def capabilities_json(known: Capabilities) -> dict[str, Any]:
    """Capabilities as they travel."""
    return asdict(replace(known, distributions=dict(known.distributions)))


def capabilities_of(value: Any) -> Capabilities:
    """Capabilities that have travelled. Raises WireError."""
    return Capabilities(**_fitting(Capabilities, value))


def _result_json(result: TaskResult) -> dict[str, Any]:
    plain = asdict(replace(result, files=()))
    return {**plain, "files": [_about(file) for file in result.files]}


def _result(value: Any, files: list[OutputFile]) -> TaskResult:
    plain = _fitting(TaskResult, value)
    plain["files"] = tuple(files)
    plain["usage"] = Usage(**_fitting(Usage, plain["usage"]))
    plain["egress"] = tuple(EgressCall(**_fitting(EgressCall, call)) for call in plain["egress"])
    return TaskResult(**plain)


def _fitting(kind: type[Any], value: Any) -> dict[str, Any]:
    """The fields of a dataclass, all of them and no others."""
    wanted = {field.name for field in fields(kind)}
    if not isinstance(value, dict) or value.keys() != wanted:
        raise WireError("fields of another version: update client and daemon")
    return {name: tuple(v) if isinstance(v, list) else v for name, v in value.items()}


def _about(file: OutputFile) -> list[Any]:
    return [file.name, file.sha256, file.size]


async def _file(reader: asyncio.StreamReader, about: Iterable[Any]) -> OutputFile:
    name, sha256, size = about
    content = b"".join([data async for data in receive_bytes(reader, size)])
    return OutputFile(name, sha256, size, content)
