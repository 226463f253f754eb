"""The SQL of auth. Every query a user can cause carries that user's id itself."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import RowMapping

from app.auth.types import ApiKey, Credential, Project, User
from app.kernel.ids import new_id
from app.kernel.uow import UnitOfWork

_USER = "user_id, email, subscription_tier"
_KEY = "key_id, name, prefix, scopes, created_at, expires_at, revoked_at, last_used_at"

_INSERT_USER = f"""
insert into app.users (user_id, email, subscription_tier) values (:user_id, :email, :tier)
on conflict (email) do nothing returning {_USER}
"""

_INSERT_PROJECT = """
insert into app.projects (project_id, user_id, name) values (:project_id, :user_id, :name)
on conflict (user_id, name) do nothing
"""

_INSERT_KEY = f"""
insert into app.api_keys
  (key_id, user_id, project_id, name, prefix, secret_hash, scopes, expires_at)
values (:key_id, :user_id, :project_id, :name, :prefix, :secret_hash, :scopes, :expires_at)
returning {_KEY}
"""

_REVOKE = """
update app.api_keys set revoked_at = coalesce(revoked_at, now())
where key_id = :key_id and user_id = :user_id returning key_id
"""

_CREDENTIALS = """
select secret_hash, key_id, user_id, project_id, scopes, expires_at from app.api_keys
where secret_hash = any($1::bytea[]) and revoked_at is null
"""

_LAPSED = """
select asked.key_id from unnest($1::uuid[]) as asked(key_id) where not exists (
  select from app.api_keys k where k.key_id = asked.key_id and k.revoked_at is null
    and (k.expires_at is null or k.expires_at > now()))
"""
_IDENTITY = "select user_id from app.user_identity where issuer = $1 and subject = $2"
_USER_EXISTS = "select user_id from app.users where user_id = $1"
# Two first visits at once: the one that came first counts.
_LINK = """
with made as (
  insert into app.user_identity (issuer, subject, user_id) values ($1, $2, $3)
  on conflict (issuer, subject) do nothing returning user_id)
select user_id from made union all
select user_id from app.user_identity where issuer = $1 and subject = $2 limit 1
"""

# Once an hour at most: the column tells people which keys are dead, it is no access log.
_MARK_USED = """
update app.api_keys k set last_used_at = used.at
from unnest(cast(:ids as uuid[]), cast(:times as timestamptz[])) as used(key_id, at)
where k.key_id = used.key_id
  and (k.last_used_at is null or k.last_used_at < used.at - interval '1 hour')
"""


def _key(row: RowMapping) -> ApiKey:
    return ApiKey(**{**row, "scopes": frozenset(row["scopes"])})


async def insert_user(uow: UnitOfWork, email: str, tier: str) -> User | None:
    """A new user; None if the address is taken."""
    values = {"user_id": new_id(), "email": email, "tier": tier}
    row = (await uow.execute(_INSERT_USER, values)).mappings().first()
    return None if row is None else User(**row)


async def user_by_email(uow: UnitOfWork, email: str) -> User:
    """The user of an address that is known to be taken."""
    sql = f"select {_USER} from app.users where email = :email"
    return User(**(await uow.execute(sql, {"email": email})).mappings().one())


async def ensure_project(uow: UnitOfWork, user_id: UUID, name: str) -> Project:
    """The user's project of that name, made if there is none."""
    values = {"project_id": new_id(), "user_id": user_id, "name": name}
    await uow.execute(_INSERT_PROJECT, values)
    row = await uow.execute(
        "select project_id, user_id, name from app.projects"
        " where user_id = :user_id and name = :name",
        values,
    )
    return Project(**row.mappings().one())


async def has_project(uow: UnitOfWork, user_id: UUID, project_id: UUID) -> bool:
    """Whether the project exists and is the user's."""
    sql = "select 1 from app.projects where project_id = :project_id and user_id = :user_id"
    found = await uow.execute(sql, {"project_id": project_id, "user_id": user_id})
    return found.first() is not None


async def insert_key(uow: UnitOfWork, values: dict[str, Any]) -> ApiKey:
    """A new key; `values` are the columns but the id."""
    return _key((await uow.execute(_INSERT_KEY, {"key_id": new_id(), **values})).mappings().one())


async def keys(uow: UnitOfWork, user_id: UUID) -> list[ApiKey]:
    """The user's keys, newest first."""
    sql = f"select {_KEY} from app.api_keys where user_id = :user_id order by key_id desc"
    rows = await uow.execute(sql, {"user_id": user_id})
    return [_key(row) for row in rows.mappings()]


async def revoke(uow: UnitOfWork, user_id: UUID, key_id: UUID) -> bool:
    """Revoke the user's key; the first time stays. False if the user has no such key."""
    result = await uow.execute(_REVOKE, {"key_id": key_id, "user_id": user_id})
    return result.first() is not None


async def credentials(uow: UnitOfWork, hashes: Sequence[bytes]) -> dict[bytes, Credential]:
    """What the keys with these hashes say, but for those that are unknown or revoked."""
    rows = await uow.fetch(_CREDENTIALS, list(hashes))
    return {
        secret_hash: Credential(key_id, user_id, project_id, frozenset(scopes), expires_at)
        for secret_hash, key_id, user_id, project_id, scopes, expires_at in rows
    }


async def mark_used(uow: UnitOfWork, uses: Sequence[tuple[UUID, datetime]]) -> None:
    """Write when keys were used last, at most once an hour each."""
    ids, times = [key_id for key_id, _ in uses], [at for _, at in uses]
    await uow.execute(_MARK_USED, {"ids": ids, "times": times})


async def lapsed(uow: UnitOfWork, key_ids: Collection[UUID]) -> set[UUID]:
    """Those of the keys that are unknown, revoked or expired."""
    return {key_id for (key_id,) in await uow.fetch(_LAPSED, list(key_ids))}


async def user_of(uow: UnitOfWork, issuer: str, subject: str) -> UUID | None:
    """The user who is known by that name at an issuer."""
    return next((user_id for (user_id,) in await uow.fetch(_IDENTITY, issuer, subject)), None)


async def has_user(uow: UnitOfWork, user_id: UUID) -> bool:
    """Whether there is such a user."""
    return bool(await uow.fetch(_USER_EXISTS, user_id))


async def link(uow: UnitOfWork, issuer: str, subject: str, user_id: UUID) -> UUID | None:
    """Make a user known by a name at an issuer; the user who is, or None if one comes just now."""
    rows = await uow.fetch(_LINK, issuer, subject, user_id)
    return next((linked for (linked,) in rows), None)
