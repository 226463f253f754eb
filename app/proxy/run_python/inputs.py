"""Input files of a call: stored ones by their path, inline ones in a folder of their own."""

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from app.kernel.errors import AppError, Code
from app.sandbox import InputFile

_SOURCES = ("file_id", "content", "content_base64")


@contextmanager
def input_files(given: Sequence[Mapping[str, Any]]) -> Iterator[tuple[InputFile, ...]]:
    """The files, as long as the block lasts. `file_id` holds a path already.

    Raises AppError: INVALID_INPUT that points at the file, STORAGE_FULL.
    """
    inline = {i: _content(i, item) for i, item in enumerate(given)}
    if all(data is None for data in inline.values()):
        yield tuple(InputFile(item["name"], Path(item["file_id"])) for item in given)
        return
    with TemporaryDirectory(prefix="uaol-input-", ignore_cleanup_errors=True) as folder:
        yield tuple(
            InputFile(item["name"], _placed(Path(folder, str(i)), inline[i], item))
            for i, item in enumerate(given)
        )


def _content(index: int, item: Mapping[str, Any]) -> bytes | None:
    """The bytes of an inline file; None for a stored one."""
    named = [source for source in _SOURCES if source in item]
    if len(named) != 1:
        raise _refusal(index, "needs exactly one of file_id, content and content_base64")
    if named == ["file_id"]:
        return None
    if named == ["content"]:
        try:
            return str(item["content"]).encode()
        except UnicodeEncodeError as error:
            raise _refusal(index, "is not valid Unicode text", "/content") from error
    try:
        return base64.b64decode(item["content_base64"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise _refusal(index, "is no base64", "/content_base64") from error


def _placed(path: Path, data: bytes | None, item: Mapping[str, Any]) -> Path:
    if data is None:
        return Path(item["file_id"])
    try:
        path.write_bytes(data)
    except OSError as error:
        raise AppError(
            Code.STORAGE_FULL,
            f"The inline file {item['name']!r} could not be kept: {error.strerror}.",
            hint="Try again later, or upload it and pass its id.",
        ) from error
    return path


def _refusal(index: int, problem: str, place: str = "") -> AppError:
    pointer = f"/input_files/{index}{place}"
    return AppError(
        Code.INVALID_INPUT,
        f"{pointer} {problem}.",
        hint="Give a stored file's file_id, text as content, or bytes as content_base64.",
        details={"pointer": pointer},
    )
