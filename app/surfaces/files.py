"""Files as both doors handle them: upload, look up, link."""

from collections.abc import AsyncIterator, Sequence
from urllib.parse import urlencode
from uuid import UUID

from app.kernel.principal import SERVICE, Principal, Scope
from app.kernel.uow import UnitOfWork
from app.storage import Blob, StoredFile
from app.surfaces.context import Access, owned
from app.surfaces.services import Services
from app.surfaces.views import Link, LinkedFile


class Files:
    """A user's uploads and their jobs' artifacts."""

    def __init__(self, services: Services, access: Access) -> None:
        self._services = services
        self._access = access
        self.storage = services.storage

    async def upload(
        self, principal: Principal, chunks: AsyncIterator[bytes], name: str, media_type: str
    ) -> StoredFile:
        """Store an upload. `empty_file`, `payload_too_large` or `storage_full` leave nothing."""
        principal.require(Scope.FILES)
        blob = await self.storage.put_stream(chunks)
        async with self._access.write(principal) as uow:
            return await self.attach(uow, principal, blob, name, media_type)

    async def attach(
        self, uow: UnitOfWork, principal: Principal, blob: Blob, name: str, media_type: str
    ) -> StoredFile:
        """Give stored bytes a row as an input file of the principal."""
        return await self.storage.attach(
            uow,
            user_id=principal.owner,
            project_id=principal.project_id,
            blob=blob,
            name=name,
            media_type=media_type,
            kind="input",
        )

    async def get(self, principal: Principal, file_id: UUID) -> StoredFile:
        """One of the principal's files, or `not_found`."""
        principal.require(Scope.FILES)
        async with self._access.read(principal) as uow:
            return await self.own(uow, principal, file_id)

    async def own(self, uow: UnitOfWork, principal: Principal, file_id: UUID) -> StoredFile:
        """The same inside an open unit of work."""
        file = await self.storage.get(uow, file_id)
        return owned(principal, file, file.user_id, "file")

    def link(self, file: StoredFile, base_url: str) -> Link:
        """A signed, expiring download link below `base_url` (or the configured public URL)."""
        expires, signature = self.storage.sign(file.file_id)
        base = (self._services.settings.public_url or base_url).rstrip("/")
        query = urlencode({"expires": expires, "signature": signature})
        return Link(url=f"{base}/v1/files/{file.file_id}/content?{query}", expires=expires)

    def linked(self, files: Sequence[StoredFile], base_url: str) -> list[LinkedFile]:
        """A job's files with their resource URIs and links."""
        return [LinkedFile.linked(file, self.link(file, base_url)) for file in files]

    async def by_link(self, file_id: UUID, expires: int, signature: str) -> StoredFile:
        """The file a link names; `link_invalid` before anything is looked up."""
        self.storage.verify(file_id, expires, signature)
        async with self._access.read(SERVICE) as uow:
            return await self.storage.get(uow, file_id)
