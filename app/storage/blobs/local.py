"""Blobs in a folder of this machine: `<folder>/ab/<sha256>`, where `ab` begins the hash.

A blob is written under another name, made durable and then renamed, so a name always means all
of its bytes, whatever dies in between.
"""

import asyncio
import contextlib
import errno
import hashlib
import os
import re
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import BinaryIO, ParamSpec, TypeVar

from app.kernel.errors import AppError, Code
from app.storage.types import Blob

_P = ParamSpec("_P")
_T = TypeVar("_T")

_DIGEST = re.compile(r"[0-9a-f]{64}")
_PIECE = 256 * 1024
_FULL = {errno.ENOSPC, errno.EDQUOT}
_DRAFTS = "incoming"
# No upload takes a day: an older draft belongs to a process that was killed.
_ABANDONED_S = 86_400


class LocalBlobs:
    """A content-addressed folder, shared by all processes of one machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._drafts = folder / _DRAFTS
        with _faults():
            self._drafts.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._drop_abandoned()

    async def put(self, chunks: AsyncIterator[bytes], limit: int) -> Blob:
        """Store at most `limit` bytes, durable at return; see `BlobStore`."""
        draft = self._drafts / secrets.token_hex(16)
        try:
            # Not in a thread: a caller cancelled meanwhile would leave the file open and in place.
            with _faults():
                file = _create(draft)
            with _closing(file):
                blob = await _receive(file, chunks, limit)
                await _disk(_make_durable, file)
            await _disk(self._place, draft, blob)
        finally:
            draft.unlink(missing_ok=True)
        return blob

    async def open(self, sha256: str) -> AsyncIterator[bytes]:
        """The bytes, in pieces of at most 256 KiB; see `BlobStore`."""
        path = self.path(sha256)
        with await asyncio.to_thread(path.open, "rb") as file:
            while piece := await asyncio.to_thread(file.read, _PIECE):
                yield piece

    def path(self, sha256: str) -> Path:
        """The file with the bytes; see `BlobStore`."""
        path = self._address(sha256)
        if not path.is_file():
            raise _missing()
        return path

    async def delete(self, sha256: str) -> None:
        """Remove the bytes; see `BlobStore`."""
        await asyncio.to_thread(self._address(sha256).unlink, missing_ok=True)

    def _address(self, sha256: str) -> Path:
        if _DIGEST.fullmatch(sha256) is None:
            raise _missing()
        return self._folder / sha256[:2] / sha256

    def _place(self, draft: Path, blob: Blob) -> None:
        target = self._address(blob.sha256)
        # A file cut short by a failing disk is replaced; a whole one is left alone.
        if not (target.is_file() and target.stat().st_size == blob.size):
            target.parent.mkdir(mode=0o700, exist_ok=True)
            draft.replace(target)
        _sync_folder(target.parent)
        _sync_folder(self._folder)

    def _drop_abandoned(self) -> None:
        oldest = time.time() - _ABANDONED_S
        for draft in self._drafts.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if draft.stat().st_mtime < oldest:
                    draft.unlink()


@contextlib.contextmanager
def _closing(file: BinaryIO) -> Iterator[None]:
    try:
        yield
    finally:
        # Closing flushes again what could not be written; the first fault is the one to tell.
        with contextlib.suppress(OSError):
            file.close()


async def _receive(file: BinaryIO, chunks: AsyncIterator[bytes], limit: int) -> Blob:
    digest, size = hashlib.sha256(), 0
    async for chunk in chunks:
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        digest.update(chunk)
        await _disk(file.write, chunk)
    if size == 0:
        raise AppError(Code.EMPTY_FILE, "The file is empty.", hint="Send a file with content.")
    return Blob(digest.hexdigest(), size)


def _create(draft: Path) -> BinaryIO:
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    return os.fdopen(descriptor, "wb", buffering=_PIECE)


def _make_durable(file: BinaryIO) -> None:
    file.flush()
    # Tools are given the path: a mistake of theirs must not change bytes that others share.
    os.fchmod(file.fileno(), 0o400)
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def _disk(step: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    # Only the disk's own faults are translated: the chunks come from a client, whose lost
    # connection is an OSError too.
    with _faults():
        return await asyncio.to_thread(step, *args, **kwargs)


@contextlib.contextmanager
def _faults() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise AppError(
                Code.STORAGE_FULL,
                "The disk that holds the files is full; nothing of this file was kept.",
                hint="Free some space and send it again.",
            ) from error
        raise AppError(
            Code.HUB_NOT_WRITABLE,
            f"The files' folder cannot be written: {error.strerror}.",
            hint="Check the rights of the home folder; `uaol doctor` shows them.",
        ) from error


def _too_large(limit: int) -> AppError:
    return AppError(
        Code.PAYLOAD_TOO_LARGE,
        f"The file is larger than the {limit} bytes this server accepts.",
        hint="Send a smaller file, or raise UAOL_UPLOAD_LIMIT.",
        details={"limit": limit},
    )


def _missing() -> AppError:
    return AppError(Code.NOT_FOUND, "The file's content is not here.")
