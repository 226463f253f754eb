"""Saved workflows through a door."""

from app.kernel.principal import Principal, Scope
from app.orchestration import Library
from app.surfaces.context import Access
from app.surfaces.workflows.ordering import Ordering
from app.surfaces.workflows.payloads import Save
from app.surfaces.workflows.views import SavedOut, SavedPage, WorkflowOut


class Shelf:
    """A user's saved definitions. What is saved could be run when it was saved."""

    def __init__(self, access: Access, ordering: Ordering, library: Library) -> None:
        self._access = access
        self._ordering = ordering
        self._library = library

    async def save(self, principal: Principal, name: str, asked: Save) -> tuple[WorkflowOut, bool]:
        """Save the next version, and whether it is one; every mistake refuses it."""
        await self._ordering.order(principal, asked.definition)
        async with self._access.write(principal) as uow:
            saved, is_new = await self._library.save(
                uow, principal.owner, name, asked.definition, asked.base_version
            )
        return WorkflowOut.of(saved), is_new

    async def get(self, principal: Principal, name: str, version: int | None = None) -> WorkflowOut:
        """A version, the newest if none is named."""
        principal.require(Scope.JOBS)
        async with self._access.read(principal) as uow:
            return WorkflowOut.of(await self._library.get(uow, principal.owner, name, version))

    async def list(self, principal: Principal, limit: int, after: str | None = None) -> SavedPage:
        """The newest version under each name, by name."""
        principal.require(Scope.JOBS)
        async with self._access.read(principal) as uow:
            found = await self._library.list(uow, principal.owner, limit + 1, after)
        shown = [SavedOut.model_validate(one) for one in found[:limit]]
        return SavedPage(workflows=shown, next=shown[-1].name if len(found) > limit else None)

    async def versions(
        self, principal: Principal, name: str, limit: int, before: int | None = None
    ) -> SavedPage:
        """The versions under a name, newest first."""
        principal.require(Scope.JOBS)
        async with self._access.read(principal) as uow:
            found = await self._library.versions(uow, principal.owner, name, limit + 1, before)
        shown = [SavedOut.model_validate(one) for one in found[:limit]]
        return SavedPage(workflows=shown, next=shown[-1].version if len(found) > limit else None)

    async def delete(self, principal: Principal, name: str) -> None:
        """Delete all versions under a name."""
        principal.require(Scope.JOBS)
        async with self._access.write(principal) as uow:
            await self._library.delete(uow, principal.owner, name)
