"""The SQL of saved definitions. Every statement names the owner."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from app.kernel.uow import UnitOfWork

_COLUMNS = "name, version, title, definition, created_at"
_BRIEF = "name, version, title, null::jsonb as definition, created_at"
_LIVE = "user_id = :user and deleted_at is null"


@dataclass(frozen=True, slots=True)
class SavedWorkflow:
    """One version of a saved definition; in lists without the definition itself."""

    name: str
    version: int
    title: str | None
    definition: Mapping[str, Any] | None
    created_at: datetime


async def lock(uow: UnitOfWork, user_id: UUID) -> None:
    """Let one writer of a user's definitions in at a time, for this transaction."""
    await uow.execute(
        "select pg_advisory_xact_lock(hashtextextended(cast(:what as text), 0))",
        {"what": f"workflow_definitions:{user_id}"},
    )


async def newest_number(uow: UnitOfWork, user_id: UUID, name: str) -> int:
    """The highest version ever given under a name, deleted ones included; 0 for none."""
    rows = await uow.execute(
        "select coalesce(max(version), 0) as newest from app.workflow_definitions"
        " where user_id = :user and name = :name",
        {"user": user_id, "name": name},
    )
    return int(rows.one().newest)


async def count_names(uow: UnitOfWork, user_id: UUID) -> int:
    """How many names a user has definitions under."""
    rows = await uow.execute(
        f"select count(distinct name) as names from app.workflow_definitions where {_LIVE}",
        {"user": user_id},
    )
    return int(rows.one().names)


async def insert(
    uow: UnitOfWork, user_id: UUID, name: str, version: int, definition: Mapping[str, Any]
) -> SavedWorkflow:
    """Write a version."""
    rows = await uow.execute(
        f"""
        insert into app.workflow_definitions (user_id, name, version, title, definition)
        values (:user, :name, :version, :title, cast(:definition as jsonb))
        returning {_COLUMNS}
        """,
        {
            "user": user_id,
            "name": name,
            "version": version,
            "title": definition.get("title"),
            "definition": orjson.dumps(definition).decode(),
        },
    )
    return SavedWorkflow(**rows.mappings().one())


async def find(
    uow: UnitOfWork, user_id: UUID, name: str, version: int | None
) -> SavedWorkflow | None:
    """A version, the newest if none is named."""
    rows = await uow.execute(
        f"""
        select {_COLUMNS} from app.workflow_definitions
        where {_LIVE} and name = :name and (cast(:version as int) is null or version = :version)
        order by version desc limit 1
        """,
        {"user": user_id, "name": name, "version": version},
    )
    row = rows.mappings().one_or_none()
    return None if row is None else SavedWorkflow(**row)


async def newest(
    uow: UnitOfWork, user_id: UUID, limit: int, after: str | None
) -> list[SavedWorkflow]:
    """The newest version under each name, by name, without definitions."""
    rows = await uow.execute(
        f"""
        select distinct on (name) {_BRIEF} from app.workflow_definitions
        where {_LIVE} and (cast(:after as text) is null or name > :after)
        order by name, version desc limit :limit
        """,
        {"user": user_id, "limit": limit, "after": after},
    )
    return [SavedWorkflow(**row) for row in rows.mappings()]


async def versions(
    uow: UnitOfWork, user_id: UUID, name: str, limit: int, before: int | None
) -> list[SavedWorkflow]:
    """The versions under a name, newest first, without definitions."""
    rows = await uow.execute(
        f"""
        select {_BRIEF} from app.workflow_definitions
        where {_LIVE} and name = :name and (cast(:before as int) is null or version < :before)
        order by version desc limit :limit
        """,
        {"user": user_id, "name": name, "limit": limit, "before": before},
    )
    return [SavedWorkflow(**row) for row in rows.mappings()]


async def delete(uow: UnitOfWork, user_id: UUID, name: str) -> int:
    """Put all versions under a name away; returns how many there were."""
    rows = await uow.execute(
        f"update app.workflow_definitions set deleted_at = now() where {_LIVE} and name = :name",
        {"user": user_id, "name": name},
    )
    return int(rows.rowcount)
