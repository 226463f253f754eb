"""The input files of one task, written down while they arrive, and removed with it."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

from app.kernel.errors import AppError, Code
from app.sandbox.wire import receive_bytes


@asynccontextmanager
async def spooled(
    reader: asyncio.StreamReader, sizes: Sequence[int], patience_s: float
) -> AsyncIterator[Path]:
    """A folder with the files `0`, `1`, ... of these sizes, read from the connection.

    Raises WireError or EOFError when they do not come as announced, TimeoutError when nothing
    comes for `patience_s`, AppError(STORAGE_FULL) without room.
    """
    if not sizes:
        yield Path()
        return
    folder = await asyncio.to_thread(_new_folder)
    try:
        for number, size in enumerate(sizes):
            with (folder / str(number)).open("xb", buffering=0) as file:
                await _copy(reader, file, size, patience_s)
        yield folder
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def _copy(
    reader: asyncio.StreamReader, file: IO[bytes], size: int, patience_s: float
) -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(patience_s) as deadline:
        async for data in receive_bytes(reader, size):
            await asyncio.to_thread(_write, file, data)
            deadline.reschedule(loop.time() + patience_s)


def _new_folder() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="uaol-sandboxd-"))
    except OSError as error:
        raise _full(error) from error


def _write(file: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    try:
        while view:
            view = view[file.write(view) :]
    except OSError as error:
        raise _full(error) from error


def _full(error: OSError) -> AppError:
    return AppError(
        Code.STORAGE_FULL,
        f"sandboxd cannot keep the input files: {error.strerror}.",
        hint="Make room in its temporary folder.",
    )
