"""A task's input files on the host: each opened once, so that what is measured is what is sent."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import IO

from app.kernel.errors import AppError, Code
from app.sandbox.types import TaskSpec

_CHUNK = 2**18


class InputChangedError(Exception):
    """A file became shorter while it was sent."""


@dataclass(frozen=True)
class OpenInput:
    """An open file with the name it gets and the size it has."""

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


async def contents(inputs: list[OpenInput]) -> AsyncIterator[bytes]:
    """The bytes of all files, one after the other. Raises InputChangedError if one shrank."""
    for item in inputs:
        left = item.size
        while left:
            chunk = await asyncio.to_thread(item.file.read, min(left, _CHUNK))
            if not chunk:
                raise InputChangedError(f"the input file {item.name!r} shrank while it was read")
            left -= len(chunk)
            yield chunk
