"""Where the bytes of files live: one protocol, one conformance suite that every store passes."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

from app.storage.blobs.local import LocalBlobs
from app.storage.types import Blob

__all__ = ["BlobStore", "LocalBlobs"]


class BlobStore(Protocol):
    """Bytes by the SHA-256 of their content. A blob never changes once it is there."""

    async def put(self, chunks: AsyncIterator[bytes], limit: int) -> Blob:
        """Store at most `limit` bytes, durable at return; bytes already there are left alone.

        Raises `payload_too_large`, `empty_file`, `storage_full`, `hub_not_writable`. After an
        error nothing is left behind.
        """
        ...

    def open(self, sha256: str) -> AsyncIterator[bytes]:
        """The bytes, in pieces. Raises `not_found` at the first one."""
        ...

    def path(self, sha256: str) -> Path:
        """A local file with the bytes, to be read only. Raises `not_found`."""
        ...

    async def delete(self, sha256: str) -> None:
        """Remove the bytes; removing what is not there changes nothing."""
        ...
