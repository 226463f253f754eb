"""The SQL of the vault. Every query carries the owner's id, but for what re-wraps all keys."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from app.kernel.ids import new_id
from app.kernel.uow import UnitOfWork
from app.vault.types import Sealed, SecretInfo, SecretRef, Slot

_SHOWN = """secret_id, scope, name, project_id, origins, version, created_at, changed_at, used_at"""
_PLACE = "user_id = :user_id and scope = :scope and holder = :holder and name = :name"

_INSERT = f"""
insert into app.vault_secret
  (secret_id, user_id, scope, project_id, holder, name, origins, version)
values (:secret_id, :user_id, :scope, :project_id, :holder, :name, :origins, :version)
on conflict (user_id, scope, holder, name) do nothing returning {_SHOWN}
"""

# Whoever sealed for a version that somebody else has taken since finds no row.
_RENEW = f"""
update app.vault_secret set version = :version, origins = :origins, changed_at = now()
where secret_id = :secret_id and {_PLACE} and version = :version - 1 returning {_SHOWN}
"""

_SEAL = """
insert into app.vault_sealed (secret_id, version, kek_id, wrapped, ciphertext)
values (:secret_id, :version, :kek_id, :wrapped, :ciphertext)
on conflict (secret_id) do update set version = excluded.version, kek_id = excluded.kek_id,
  wrapped = excluded.wrapped, ciphertext = excluded.ciphertext
"""

_SEALED = """s.user_id, s.secret_id, v.version, v.kek_id, v.wrapped, v.ciphertext, s.origins"""

_FIND = f"""
select {_SEALED}, s.scope, s.holder, s.name
from unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[]) as asked(user_id, scope, holder, name)
join app.vault_secret s using (user_id, scope, holder, name)
join app.vault_sealed v on v.secret_id = s.secret_id and v.version = s.version
"""

_STALE = f"""
select {_SEALED} from app.vault_sealed v join app.vault_secret s using (secret_id)
where v.kek_id <> $1 and ($2::uuid is null or s.secret_id > $2) order by s.secret_id limit $3
"""

_REWRAP = """
update app.vault_sealed set kek_id = :kek_id, wrapped = :wrapped
where secret_id = :secret_id and version = :version and kek_id = :before
"""

# Once an hour at most: the column tells people which secrets are dead, it is no access log.
_MARK_USED = """
update app.vault_secret s set used_at = used.at
from unnest(cast(:ids as uuid[]), cast(:times as timestamptz[])) as used(secret_id, at)
where s.secret_id = used.secret_id
  and (s.used_at is null or s.used_at < used.at - interval '1 hour')
"""


def _place(ref: SecretRef) -> dict[str, Any]:
    return {
        "user_id": ref.user_id,
        "scope": ref.scope,
        "holder": ref.holder,
        "name": ref.name,
        "project_id": ref.project_id,
    }


def _info(row: Mapping[Any, Any]) -> SecretInfo:
    return SecretInfo(**{**row, "origins": tuple(row["origins"])})


def _sealed(row: Sequence[Any]) -> Sealed:
    user_id, secret_id, version, kek_id, wrapped, ciphertext, origins = row[:7]
    slot = Slot(user_id, secret_id, version)
    return Sealed(slot, kek_id, bytes(wrapped), bytes(ciphertext), tuple(origins))


async def slot(uow: UnitOfWork, ref: SecretRef) -> tuple[Slot, tuple[str, ...]]:
    """The slot of the secret's next value and its origins; version 1 if it does not exist."""
    sql = f"select secret_id, version, origins from app.vault_secret where {_PLACE}"
    row = (await uow.execute(sql, _place(ref))).mappings().first()
    if row is None:
        return Slot(ref.user_id, new_id(), 1), ()
    return Slot(ref.user_id, row["secret_id"], row["version"] + 1), tuple(row["origins"])


async def put(uow: UnitOfWork, ref: SecretRef, sealed: Sealed) -> SecretInfo | None:
    """Write a sealed value into its slot; None if the slot was taken meanwhile."""
    slot = sealed.slot
    values = _place(ref) | {
        "secret_id": slot.secret_id,
        "version": slot.version,
        "origins": list(sealed.origins),
    }
    rows = await uow.execute(_INSERT if slot.version == 1 else _RENEW, values)
    row = rows.mappings().first()
    if row is None:
        return None
    await uow.execute(
        _SEAL,
        {
            "secret_id": slot.secret_id,
            "version": slot.version,
            "kek_id": sealed.kek_id,
            "wrapped": sealed.wrapped,
            "ciphertext": sealed.ciphertext,
        },
    )
    return _info(row)


async def count(uow: UnitOfWork, user_id: UUID) -> int:
    """How many secrets the user has set."""
    sql = "select count(*) from app.vault_secret where user_id = :user_id and scope <> 'oauth'"
    return int((await uow.execute(sql, {"user_id": user_id})).scalar_one())


async def list_of(uow: UnitOfWork, user_id: UUID) -> list[SecretInfo]:
    """What the user has set, by scope and name."""
    sql = f"""
    select {_SHOWN} from app.vault_secret where user_id = :user_id and scope <> 'oauth'
    order by scope, name, secret_id
    """
    rows = await uow.execute(sql, {"user_id": user_id})
    return [_info(row) for row in rows.mappings()]


async def delete(uow: UnitOfWork, ref: SecretRef) -> UUID | None:
    """Delete a secret and its value; its id, or None if there is none."""
    sql = f"delete from app.vault_secret where {_PLACE} returning secret_id"
    row = (await uow.execute(sql, _place(ref))).first()
    return None if row is None else row[0]


async def find(uow: UnitOfWork, refs: Sequence[SecretRef]) -> dict[SecretRef, Sealed]:
    """The sealed values of those that exist."""
    by_place = {(ref.user_id, ref.scope, ref.holder, ref.name): ref for ref in refs}
    columns = [list(column) for column in zip(*by_place, strict=True)] or [[], [], [], []]
    rows = await uow.fetch(_FIND, *columns)
    found: dict[SecretRef, Sealed] = {}
    for row in rows:
        scope, holder, name = row[7:]
        found[by_place[row[0], scope, holder, name]] = _sealed(row)
    return found


async def stale(uow: UnitOfWork, kek_id: str, after: UUID | None, limit: int) -> list[Sealed]:
    """Sealed values of all users whose data key is wrapped by another key than this."""
    return [_sealed(row) for row in await uow.fetch(_STALE, kek_id, after, limit)]


async def rewrap(uow: UnitOfWork, sealed: Sealed, before: str) -> bool:
    """Write a re-wrapped data key; False if the value was replaced or re-wrapped meanwhile."""
    values = {
        "secret_id": sealed.slot.secret_id,
        "version": sealed.slot.version,
        "kek_id": sealed.kek_id,
        "wrapped": sealed.wrapped,
        "before": before,
    }
    return (await uow.execute(_REWRAP, values)).rowcount == 1


async def mark_used(uow: UnitOfWork, uses: Sequence[tuple[UUID, datetime]]) -> None:
    """Write when secrets were used last, at most once an hour each."""
    ids, times = [secret_id for secret_id, _ in uses], [at for _, at in uses]
    await uow.execute(_MARK_USED, {"ids": ids, "times": times})
