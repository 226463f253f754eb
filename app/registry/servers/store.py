"""The SQL of registered servers. Writers hold the registry's lock (`app.registry.store.lock`)."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from app.kernel.uow import UnitOfWork
from app.registry.servers.types import (
    Address,
    Notice,
    Offer,
    Published,
    RegisteredServer,
    Server,
    ServerStatus,
    Version,
)
from app.registry.types import Deprecation

_SERVER = """select server_id, slug, name, user_id, status, offer, latest_version,
  approved_version, deprecated_message, successor, reason, created_at, updated_at
from app.mcp_servers"""

_VERSION = """select server_id, number, version, status, document, address, definitions, findings,
  reason, created_at, submitted_at, approved_at from app.mcp_server_versions"""

# Slugs that differ in nothing but `-` and `_` would be taken for each other.
_CLASH = """
select 'slug' as field from app.mcp_servers
where translate(slug, '-_', '') = translate(:slug, '-_', '')
union all select 'slug' from app.mcp_tools
where translate(server, '-_', '') = translate(:slug, '-_', '')
union all select 'name' from app.mcp_servers where lower(name) = lower(:name)
limit 1
"""

_INSERT = """
insert into app.mcp_servers (server_id, user_id, slug, name, offer, latest_version)
values (:server_id, :user, :slug, :name, :offer, 1)
"""

_INSERT_VERSION = """
insert into app.mcp_server_versions (server_id, number, user_id, version, document, address)
values (:server_id, :number, :user, :version, :document, :address)
"""

_EDIT = """
update app.mcp_server_versions
set version = :version, document = :document, address = :address, definitions = '[]',
  findings = '[]', created_at = now()
where server_id = :server_id and number = :number and status = 'Draft'
"""

_SUBMIT = """
update app.mcp_server_versions
set status = 'Pending', definitions = :definitions, findings = :findings, reason = null,
  submitted_at = now()
where server_id = :server_id and number = :number and status = 'Draft'
  and created_at = :edited
"""

_DECIDE = """
update app.mcp_server_versions
set status = :status, reason = :reason,
  approved_at = case when cast(:status as text) = 'Approved' then coalesce(approved_at, now())
    else approved_at end
where server_id = :server_id and number = :number
"""

_STATE = """
update app.mcp_servers
set status = :status, latest_version = :latest, approved_version = :approved, reason = :reason,
  updated_at = now()
where server_id = :server_id
"""

_OFFER = "update app.mcp_servers set offer = :offer, updated_at = now() where server_id = :id"

_DEPRECATE = """
update app.mcp_servers
set deprecated_message = :message, successor = :successor, updated_at = now()
where server_id = :id
"""

_DEPRECATE_TOOL = """
update app.mcp_tools
set deprecated_message = :message, successor = :successor, updated_at = now()
where name = :name returning name
"""

_IS_KNOWN = """
select 1 from app.mcp_servers where slug = :name
union all select 1 from app.mcp_tools where name = :name limit 1
"""

_REGISTERED = """
select s.server_id, s.slug, s.name, s.user_id as developer_id, s.status, v.version, v.address,
  s.offer, s.deprecated_message, s.successor
from app.mcp_servers s
join app.mcp_server_versions v on v.server_id = s.server_id and v.number = s.approved_version
"""

_PUBLISHED = """
select s.slug, s.name, v.number, v.version, v.document, v.number = s.approved_version as is_latest,
  s.deprecated_message, s.successor, v.approved_at as published_at,
  greatest(v.approved_at, s.updated_at) as updated_at
from app.mcp_servers s
join app.mcp_server_versions v on v.server_id = s.server_id
where s.status = 'Approved' and v.status = 'Approved' and v.number <= s.approved_version
order by s.name, v.number
"""

_NOTICE = """
insert into app.registry_notice (notice_id, user_id, slug, kind, subject, details)
values (:notice_id, :user, :slug, :kind, :subject, :details) on conflict do nothing
"""

_NOTICES = """
select notice_id, slug, kind, subject, details, created_at from app.registry_notice
where user_id = :user and (cast(:before as uuid) is null or notice_id < :before)
order by notice_id desc limit :limit
"""


async def clash(uow: UnitOfWork, slug: str, name: str) -> str | None:
    """`slug` or `name` if another server, configured or registered, has it; else None."""
    row = (await uow.execute(_CLASH, {"slug": slug, "name": name})).first()
    return None if row is None else str(row.field)


async def count(uow: UnitOfWork, user_id: UUID) -> int:
    """How many servers a developer has registered."""
    statement = "select count(*) from app.mcp_servers where user_id = :user"
    return int((await uow.execute(statement, {"user": user_id})).scalar_one())


async def add(
    uow: UnitOfWork, server_id: UUID, user_id: UUID, slug: str, name: str, offer: Offer
) -> None:
    """Insert a server; its first version is added apart."""
    values = {"server_id": server_id, "user": user_id, "slug": slug, "name": name}
    await uow.execute(_INSERT, values | {"offer": Jsonb(offer.as_dict())})


async def add_version(
    uow: UnitOfWork, server: Server, number: int, document: Mapping[str, Any], address: Address
) -> None:
    """Insert a draft."""
    values = _content(document, address) | {"server_id": server.server_id, "number": number}
    await uow.execute(_INSERT_VERSION, values | {"user": server.developer_id})


async def edit(
    uow: UnitOfWork, version: Version, document: Mapping[str, Any], address: Address
) -> None:
    """Replace what a draft says."""
    key = {"server_id": version.server_id, "number": version.number}
    await uow.execute(_EDIT, _content(document, address) | key)


async def submit(
    uow: UnitOfWork,
    version: Version,
    definitions: Sequence[Mapping[str, Any]],
    findings: Sequence[Mapping[str, Any]],
) -> bool:
    """Make a draft Pending; False if it was edited or submitted since it was read."""
    values = {
        "server_id": version.server_id,
        "number": version.number,
        "edited": version.created_at,
        "definitions": Jsonb([dict(each) for each in definitions]),
        "findings": Jsonb([dict(each) for each in findings]),
    }
    return (await uow.execute(_SUBMIT, values)).rowcount == 1


async def decide(
    uow: UnitOfWork, version: Version, status: ServerStatus, reason: str | None
) -> None:
    """Set a version's status."""
    key = {"server_id": version.server_id, "number": version.number}
    await uow.execute(_DECIDE, key | {"status": status, "reason": reason})


async def set_state(
    uow: UnitOfWork,
    server: Server,
    status: ServerStatus,
    *,
    latest: int | None = None,
    approved: int | None = None,
    reason: str | None = None,
) -> None:
    """Set a server's status; versions that are not given stay."""
    values = {
        "server_id": server.server_id,
        "status": status,
        "latest": latest or server.latest_version,
        "approved": approved or server.approved_version,
        "reason": reason,
    }
    await uow.execute(_STATE, values)


async def set_offer(uow: UnitOfWork, server_id: UUID, offer: Offer) -> None:
    """Replace a server's offer."""
    await uow.execute(_OFFER, {"id": server_id, "offer": Jsonb(offer.as_dict())})


async def deprecate(uow: UnitOfWork, server_id: UUID, told: Deprecation | None) -> None:
    """Say that a server will go, or take that back."""
    await uow.execute(_DEPRECATE, {"id": server_id, **_told(told)})


async def deprecate_tool(uow: UnitOfWork, full_name: str, told: Deprecation | None) -> bool:
    """Say that one tool will go, or take that back; False if there is no such tool."""
    values = {"name": full_name, **_told(told)}
    return (await uow.execute(_DEPRECATE_TOOL, values)).first() is not None


async def is_known(uow: UnitOfWork, name: str) -> bool:
    """Whether this is a server's slug or a tool's full name."""
    return (await uow.execute(_IS_KNOWN, {"name": name})).first() is not None


async def get(uow: UnitOfWork, slug: str) -> Server | None:
    """One server."""
    row = (await uow.execute(f"{_SERVER} where slug = :slug", {"slug": slug})).first()
    return None if row is None else _server(row)


async def list_of(
    uow: UnitOfWork, user_id: UUID | None, status: str | None, limit: int, before: UUID | None
) -> list[Server]:
    """Servers of a developer, or of all, newest first."""
    where = ["true"]
    if user_id is not None:
        where.append("user_id = :user")
    if status is not None:
        where.append("status = :status")
    if before is not None:
        where.append("server_id < :before")
    statement = f"{_SERVER} where {' and '.join(where)} order by server_id desc limit :limit"
    values = {"user": user_id, "status": status, "limit": limit, "before": before}
    return [_server(row) for row in await uow.execute(statement, values)]


async def version(uow: UnitOfWork, server_id: UUID, number: int) -> Version | None:
    """One version by its number."""
    statement = f"{_VERSION} where server_id = :id and number = :number"
    row = (await uow.execute(statement, {"id": server_id, "number": number})).first()
    return None if row is None else _version(row)


async def versions(uow: UnitOfWork, server_id: UUID) -> list[Version]:
    """All versions of a server, newest first."""
    statement = f"{_VERSION} where server_id = :id order by number desc limit 200"
    return [_version(row) for row in await uow.execute(statement, {"id": server_id})]


async def registered(uow: UnitOfWork) -> list[RegisteredServer]:
    """Every server with an approved version, Disabled ones too, by slug."""
    rows = await uow.execute(f"{_REGISTERED} order by s.slug")
    return [_registered(row) for row in rows]


async def one_registered(uow: UnitOfWork, slug: str) -> RegisteredServer | None:
    """One server with an approved version."""
    row = (await uow.execute(f"{_REGISTERED} where s.slug = :slug", {"slug": slug})).first()
    return None if row is None else _registered(row)


async def published(uow: UnitOfWork) -> list[Published]:
    """Every approved version of servers that are Approved, by name, oldest first."""
    return [_published(row) for row in await uow.execute(_PUBLISHED)]


async def add_notice(uow: UnitOfWork, user_id: UUID, notice: Mapping[str, Any]) -> None:
    """Insert a notice; repeating its id changes nothing."""
    values = dict(notice) | {"user": user_id, "details": Jsonb(notice["details"])}
    await uow.execute(_NOTICE, values)


async def notices(uow: UnitOfWork, user_id: UUID, limit: int, before: UUID | None) -> list[Notice]:
    """A developer's notices, newest first."""
    values = {"user": user_id, "limit": limit, "before": before}
    return [Notice(**row._asdict()) for row in await uow.execute(_NOTICES, values)]


def _content(document: Mapping[str, Any], address: Address) -> dict[str, Any]:
    return {
        "version": document["version"],
        "document": Jsonb(dict(document)),
        "address": Jsonb(address.as_dict()),
    }


def _told(told: Deprecation | None) -> dict[str, str | None]:
    if told is None:
        return {"message": None, "successor": None}
    return {"message": told.message, "successor": told.successor}


def _deprecation(row: Any) -> Deprecation | None:
    if row.deprecated_message is None:
        return None
    return Deprecation(row.deprecated_message, row.successor)


def _server(row: Any) -> Server:
    return Server(
        server_id=row.server_id,
        slug=row.slug,
        name=row.name,
        developer_id=row.user_id,
        status=row.status,
        offer=Offer.from_dict(row.offer),
        latest_version=row.latest_version,
        approved_version=row.approved_version,
        deprecated=_deprecation(row),
        reason=row.reason,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _version(row: Any) -> Version:
    values = row._asdict() | {
        "address": Address.from_dict(row.address),
        "definitions": tuple(row.definitions),
        "findings": tuple(row.findings),
    }
    return Version(**values)


def _registered(row: Any) -> RegisteredServer:
    return RegisteredServer(
        server_id=row.server_id,
        slug=row.slug,
        name=row.name,
        developer_id=row.developer_id,
        status=row.status,
        version=row.version,
        address=Address.from_dict(row.address),
        offer=Offer.from_dict(row.offer),
        deprecated=_deprecation(row),
    )


def _published(row: Any) -> Published:
    return Published(
        slug=row.slug,
        name=row.name,
        number=row.number,
        version=row.version,
        document=row.document,
        is_latest=row.is_latest,
        deprecated=_deprecation(row),
        published_at=row.published_at,
        updated_at=row.updated_at,
    )
