"""What every blob store must do. A new store joins by one more line in `store`."""

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.kernel.errors import AppError, Code
from app.storage import Blob, BlobStore, LocalBlobs

pytestmark = pytest.mark.anyio
LIMIT = 1_000_000


@pytest.fixture(params=[LocalBlobs])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    made: BlobStore = request.param(tmp_path / "files")
    return made


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def content(store: BlobStore, sha256: str) -> bytes:
    return b"".join([piece async for piece in store.open(sha256)])


async def refused(store: BlobStore, chunks: AsyncIterator[bytes], limit: int = LIMIT) -> AppError:
    with pytest.raises(AppError) as caught:
        await store.put(chunks, limit)
    return caught.value


def kept(tmp_path: Path) -> list[Path]:
    return [path for path in tmp_path.rglob("*") if path.is_file()]


async def test_bytes_come_back_as_they_were(store: BlobStore) -> None:
    data = os.urandom(700_001)
    blob = await store.put(stream(data[:3], b"", data[3:500_000], data[500_000:]), LIMIT)
    assert blob == Blob(hashlib.sha256(data).hexdigest(), len(data))
    assert await content(store, blob.sha256) == data
    assert store.path(blob.sha256).read_bytes() == data


async def test_the_same_bytes_are_kept_once(store: BlobStore, tmp_path: Path) -> None:
    first = await store.put(stream(b"ACGT"), LIMIT)
    before = store.path(first.sha256).stat()
    assert await store.put(stream(b"AC", b"GT"), LIMIT) == first
    after = store.path(first.sha256).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert len(kept(tmp_path)) == 1


async def test_many_at_once_agree(store: BlobStore, tmp_path: Path) -> None:
    puts = [store.put(stream(b"ACGT" * 1000, bytes([n % 2])), LIMIT) for n in range(20)]
    blobs = await asyncio.gather(*puts)
    assert len(set(blobs)) == 2
    assert len(kept(tmp_path)) == 2


async def test_the_limit_is_exact(store: BlobStore, tmp_path: Path) -> None:
    assert (await store.put(stream(b"12345", b"67890"), 10)).size == 10
    error = await refused(store, stream(b"12345", b"678901"), 10)
    assert error.code is Code.PAYLOAD_TOO_LARGE
    assert error.details == {"limit": 10}
    assert len(kept(tmp_path)) == 1


async def test_a_stream_past_the_limit_is_read_no_further(store: BlobStore) -> None:
    taken = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal taken
        while True:
            taken += 1
            yield bytes(1000)

    assert (await refused(store, endless(), 10_000)).code is Code.PAYLOAD_TOO_LARGE
    assert taken == 11


@pytest.mark.parametrize("chunks", [[], [b""], [b"", b""]])
async def test_nothing_is_no_file(store: BlobStore, tmp_path: Path, chunks: list[bytes]) -> None:
    assert (await refused(store, stream(*chunks))).code is Code.EMPTY_FILE
    assert kept(tmp_path) == []


async def test_a_sender_that_breaks_off_leaves_nothing(store: BlobStore, tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"ACGT" * 100_000
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await store.put(broken(), LIMIT)
    assert kept(tmp_path) == []


async def test_a_cancelled_put_leaves_nothing(store: BlobStore, tmp_path: Path) -> None:
    is_reading, forever = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"ACGT"
        is_reading.set()
        await forever.wait()

    task = asyncio.create_task(store.put(slow(), LIMIT))
    await is_reading.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert kept(tmp_path) == []


async def test_removing_twice_is_no_error(store: BlobStore) -> None:
    blob = await store.put(stream(b"ACGT"), LIMIT)
    await store.delete(blob.sha256)
    await store.delete(blob.sha256)
    with pytest.raises(AppError) as caught:
        store.path(blob.sha256)
    assert caught.value.code is Code.NOT_FOUND


@pytest.mark.parametrize(
    "address", ["0" * 64, "", "../secrets/link.key", "A" * 64, "0" * 64 + "\n"]
)
async def test_what_names_no_blob_is_not_found(store: BlobStore, address: str) -> None:
    with pytest.raises(AppError) as caught:
        await content(store, address)
    assert caught.value.code is Code.NOT_FOUND


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.ENOSPC, Code.STORAGE_FULL),
        (errno.EDQUOT, Code.STORAGE_FULL),
        (errno.EROFS, Code.HUB_NOT_WRITABLE),
    ],
)
async def test_a_disk_that_refuses_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: int, code: Code
) -> None:
    store = LocalBlobs(tmp_path / "files")
    with monkeypatch.context() as patch:
        break_disk(patch, step, number)
        error = await refused(store, stream(b"ACGT" * 100_000))
    assert error.code is code
    assert kept(tmp_path) == []
    await store.put(stream(b"ACGT"), LIMIT)


def break_disk(patch: pytest.MonkeyPatch, step: str, number: int) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    if step == "write":
        # The raw file under the buffer fails, as a full disk makes it: at a write, and again
        # when closing flushes what is left.
        patch.setattr(os, "fdopen", lambda fd, *_, **__: Broken(fd, number))
    elif step == "fsync":
        patch.setattr(os, "fsync", refuse)
    else:
        patch.setattr(Path, "replace", refuse)


class Broken:
    """A file on a full disk."""

    def __init__(self, descriptor: int, number: int) -> None:
        self.descriptor = descriptor
        self.number = number

    def write(self, data: bytes) -> int:
        raise OSError(self.number, os.strerror(self.number))

    def close(self) -> None:
        os.close(self.descriptor)
        raise OSError(self.number, os.strerror(self.number))


async def test_a_blob_cannot_be_written_through_its_path(tmp_path: Path) -> None:
    store = LocalBlobs(tmp_path)
    blob = await store.put(stream(b"ACGT"), LIMIT)
    assert store.path(blob.sha256) == tmp_path / blob.sha256[:2] / blob.sha256
    assert store.path(blob.sha256).stat().st_mode & 0o777 == 0o400


async def test_a_blob_cut_short_is_mended_by_the_next_put(tmp_path: Path) -> None:
    store = LocalBlobs(tmp_path)
    blob = await store.put(stream(b"ACGT"), LIMIT)
    path = store.path(blob.sha256)
    path.chmod(0o600)
    path.write_bytes(b"AC")
    await store.put(stream(b"ACGT"), LIMIT)
    assert path.read_bytes() == b"ACGT"


async def test_drafts_of_dead_processes_go_and_fresh_ones_stay(tmp_path: Path) -> None:
    LocalBlobs(tmp_path)
    old, fresh = tmp_path / "incoming" / "old", tmp_path / "incoming" / "fresh"
    for draft in (old, fresh):
        draft.write_bytes(b"x")
    os.utime(old, (1, 1))
    LocalBlobs(tmp_path)
    assert not old.exists()
    assert fresh.exists()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "files").write_text("")
    with pytest.raises(AppError) as caught:
        LocalBlobs(tmp_path / "files")
    assert caught.value.code is Code.HUB_NOT_WRITABLE
