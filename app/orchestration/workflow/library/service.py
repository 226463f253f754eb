"""Saved definitions: named, versioned, and never changed once saved."""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from app.kernel.errors import AppError, Code
from app.kernel.uow import UnitOfWork
from app.orchestration.workflow.definition import NAME_PATTERN
from app.orchestration.workflow.library import store
from app.orchestration.workflow.library.store import SavedWorkflow

NAMES = 1000
"""Names that one user may have definitions under."""
VERSIONS = 10_000
"""Versions under one name, deleted ones included."""
_NAME = re.compile(NAME_PATTERN)


class Library:
    """A user's saved definitions. Writing needs the platform's unit of work for that user."""

    async def save(
        self,
        uow: UnitOfWork,
        user_id: UUID,
        name: str,
        definition: Mapping[str, Any],
        base: int | None = None,
    ) -> tuple[SavedWorkflow, bool]:
        """A checked definition as the next version under its name, and whether it is a new one.

        Saving what the newest version says already gives that version. With `base` the newest
        version must be that one (0: there must be none), else `conflict`. Raises
        `invalid_input` for a name that does not fit, `conflict` when there is no room.
        """
        _check_name(name)
        await store.lock(uow, user_id)
        current = await store.find(uow, user_id, name, None)
        _check_base(name, base, current)
        if current is not None and current.definition == definition:
            return current, False
        if current is None and await store.count_names(uow, user_id) >= NAMES:
            raise _full(f"There are {NAMES} saved workflows already.")
        version = 1 + await store.newest_number(uow, user_id, name)
        if version > VERSIONS:
            raise _full(f"The workflow {name!r} has had {VERSIONS} versions.")
        return await store.insert(uow, user_id, name, version, definition), True

    async def get(
        self, uow: UnitOfWork, user_id: UUID, name: str, version: int | None = None
    ) -> SavedWorkflow:
        """A version, the newest if none is named; `not_found`."""
        found = None
        if _NAME.fullmatch(name):
            found = await store.find(uow, user_id, name, version)
        if found is None:
            raise _missing(name, version)
        return found

    async def list(
        self, uow: UnitOfWork, user_id: UUID, limit: int, after: str | None = None
    ) -> Sequence[SavedWorkflow]:
        """The newest version under each name, by name; `after` is the last name of a page."""
        return await store.newest(uow, user_id, limit, after)

    async def versions(
        self, uow: UnitOfWork, user_id: UUID, name: str, limit: int, before: int | None = None
    ) -> Sequence[SavedWorkflow]:
        """The versions under a name, newest first; `not_found` if there is no such name."""
        await self.get(uow, user_id, name)
        return await store.versions(uow, user_id, name, limit, before)

    async def delete(self, uow: UnitOfWork, user_id: UUID, name: str) -> None:
        """Delete all versions under a name; jobs made from them go on. Raises `not_found`."""
        if not _NAME.fullmatch(name) or not await store.delete(uow, user_id, name):
            raise _missing(name, None)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise AppError(
            Code.INVALID_INPUT,
            f"{name[:80]!r} is no name of a workflow.",
            hint=f"A name fits {NAME_PATTERN}.",
            details={"pointer": "/name"},
        )


def _check_base(name: str, base: int | None, current: SavedWorkflow | None) -> None:
    newest = 0 if current is None else current.version
    if base is not None and base != newest:
        raise AppError(
            Code.CONFLICT,
            f"The newest version of {name!r} is {newest}, not {base}.",
            hint="Somebody saved meanwhile: load the newest version and save again.",
            details={"newest": newest},
        )


def _full(message: str) -> AppError:
    return AppError(Code.CONFLICT, message, hint="Delete some that are not needed any more.")


def _missing(name: str, version: int | None) -> AppError:
    which = "" if version is None else f" version {version} of"
    return AppError(
        Code.NOT_FOUND,
        f"There is no{which} saved workflow {name[:80]!r}.",
        hint="List the saved workflows to see their names.",
    )
