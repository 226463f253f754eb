"""Brings a wheel to a private folder, never more of it than allowed, and only if its hash is right.

Addresses come from the operator's index alone, so private ones are allowed here.
"""

import asyncio
import hashlib
import logging
from pathlib import Path
from types import TracebackType
from urllib.parse import unquote, urlsplit

import httpx2

from app.kernel.whole import whole
from app.sandbox.layers.lock import Wheel
from app.sandbox.layers.refusals import failed, refused
from app.sandbox.layers.sources import Sources

_log = logging.getLogger(__name__)
_CHUNK = 2**18
_IDLE_S = 30.0


class _Sink:
    """A file that takes so many bytes and no more, and knows their hash."""

    def __init__(self, place: Path, most: int, label: str) -> None:
        self._file = place.open("wb")
        self._left, self._most, self._label = most, most, label
        self._digest = hashlib.sha256()

    def __enter__(self) -> "_Sink":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, chunk: bytes) -> None:
        self._left -= len(chunk)
        if self._left < 0:
            raise refused(self._label, f"it has more than {self._most} bytes")
        self._digest.update(chunk)
        self._file.write(chunk)

    def check(self, sha256: str) -> None:
        if self._digest.hexdigest() != sha256:
            raise refused(self._label, "the file is not the one that was locked")


async def fetch(wheel: Wheel, folder: Path, most: int, sources: Sources) -> Path:
    """The file in `folder`, of at most `most` bytes.

    Raises AppError: SANDBOX_REQUIREMENT_REFUSED if it is larger or another than was locked,
    SANDBOX_FAILED if it cannot be had; OSError of the disk.
    """
    place = folder / "package.whl"
    if wheel.is_local:
        await whole(asyncio.to_thread(_copy, wheel, place, most))
    else:
        await _download(wheel, place, most, sources)
    return place


def _copy(wheel: Wheel, place: Path, most: int) -> None:
    label = f"{wheel.name} {wheel.version}"
    try:
        with Path(wheel.location).open("rb") as source, _Sink(place, most, label) as sink:
            while chunk := source.read(_CHUNK):
                sink.write(chunk)
            sink.check(wheel.sha256)
    except FileNotFoundError as error:
        raise failed(f"{wheel.filename} has left the wheelhouse") from error


async def _download(wheel: Wheel, place: Path, most: int, sources: Sources) -> None:
    label = f"{wheel.name} {wheel.version}"
    login = _login(wheel.location, sources.index)
    client = httpx2.AsyncClient(auth=login, timeout=_IDLE_S, follow_redirects=True)
    try:
        with _Sink(place, most, label) as sink:
            async with client, client.stream("GET", wheel.location, headers=_PLAIN) as answer:
                answer.raise_for_status()
                async for chunk in answer.aiter_bytes(_CHUNK):
                    await whole(asyncio.to_thread(sink.write, chunk))
            sink.check(wheel.sha256)
    except httpx2.HTTPError as error:
        _log.warning("a wheel was not fetched", extra={"package": label, "reason": repr(error)})
        raise failed(f"{label} could not be fetched from the index") from error


_PLAIN = {"accept-encoding": "identity"}


def _login(url: str, index: str) -> tuple[str, str] | None:
    """The index's own user name and password, for its own host alone."""
    asked, own = urlsplit(url), urlsplit(index)
    same = (asked.scheme, asked.hostname, asked.port) == (own.scheme, own.hostname, own.port)
    return (unquote(own.username), unquote(own.password or "")) if same and own.username else None
