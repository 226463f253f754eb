"""Files: put the bytes first, without a transaction, then attach them to their owner in one."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

from app.kernel.clock import Clock
from app.kernel.errors import AppError, Code
from app.kernel.uow import UnitOfWork
from app.storage import store
from app.storage.blobs import BlobStore
from app.storage.links import LinkSigner
from app.storage.names import clean_media_type, clean_name
from app.storage.types import Blob, Kind, StoredFile


class Storage:
    """Users' files. Bytes put and never attached are harmless: nobody can name them."""

    def __init__(
        self,
        blobs: BlobStore,
        clock: Clock,
        signing_key: bytes,
        limit: int,
        *,
        link_ttl: int = 900,
    ) -> None:
        """`limit` is the largest file in bytes, `link_ttl` the life of a link in seconds."""
        self._blobs = blobs
        self._clock = clock
        self._links = LinkSigner(signing_key)
        self._limit = limit
        self._link_ttl = link_ttl

    async def put_stream(self, chunks: AsyncIterator[bytes]) -> Blob:
        """Store bytes as they arrive; durable at return, nothing kept on an error.

        Raises `payload_too_large`, `empty_file`, `storage_full`.
        """
        return await self._blobs.put(chunks, self._limit)

    async def put_bytes(self, data: bytes) -> Blob:
        """Store bytes at hand, under the rules of `put_stream`."""
        return await self.put_stream(_once(data))

    async def attach(
        self,
        uow: UnitOfWork,
        *,
        user_id: UUID,
        blob: Blob,
        name: str,
        media_type: str,
        kind: Kind,
        job_id: UUID | None = None,
        project_id: UUID | None = None,
    ) -> StoredFile:
        """Give stored bytes an owner and a name.

        A job has one artifact of a name: attaching again gives the same file its new content. An
        upload of the same bytes under the same name is the same file.
        Needs the platform's unit of work. Raises `invalid_input` for a name or media type that
        cannot be used, `conflict` if the job's artifact belongs to somebody else.
        """
        file = await store.upsert(
            uow,
            {
                "user_id": user_id,
                "project_id": project_id,
                "job_id": job_id,
                "kind": kind,
                "name": clean_name(name),
                "media_type": clean_media_type(media_type),
                "size": blob.size,
                "sha256": blob.sha256,
            },
        )
        if file is None:
            raise AppError(Code.CONFLICT, "The job's artifact belongs to another user.")
        return file

    async def get(self, uow: UnitOfWork, file_id: UUID) -> StoredFile:
        """The file, if the unit of work's user may see it. Raises `not_found`."""
        file = await store.by_id(uow, file_id)
        if file is None:
            raise AppError(
                Code.NOT_FOUND, "There is no such file.", hint="Upload it first, or check its id."
            )
        return file

    async def list(self, uow: UnitOfWork, job_id: UUID) -> list[StoredFile]:
        """The job's artifacts by name, those the unit of work's user may see."""
        return await store.artifacts(uow, job_id)

    def path(self, file: StoredFile) -> Path:
        """A local path of the bytes, to be read only."""
        return self._blobs.path(file.sha256)

    def open(self, file: StoredFile) -> AsyncIterator[bytes]:
        """The bytes, in pieces."""
        return self._blobs.open(file.sha256)

    def sign(self, file_id: UUID) -> tuple[int, str]:
        """When the link expires (Unix seconds) and its signature; for a file the user may see."""
        expires = int(self._clock.now().timestamp()) + self._link_ttl
        return expires, self._links.sign(file_id, expires)

    def verify(self, file_id: UUID, expires: int, signature: str) -> None:
        """Raise `link_invalid` unless `sign` gave this and it has not expired."""
        self._links.verify(file_id, expires, signature, self._clock.now())


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
