"""The SQL of the registry's tools."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from app.kernel.ids import new_id
from app.kernel.uow import UnitOfWork
from app.registry.types import Deprecation, ServerConfig, Status, Tool, ToolDefinition

# One writer at a time, over all processes: a snapshot read after its own pin then holds
# every pin that was committed before it.
_LOCK = "select pg_advisory_xact_lock(hashtext('app.registry'))"

_ROWS = """
select t.tool_id, t.name, t.status, t.latest_version, t.approved_version, t.is_listed, v.sha256
from app.mcp_tools t
join app.tool_versions v on v.tool_id = t.tool_id and v.version = t.latest_version
where t.server = :server or t.name = :name
"""

# What belongs to a registered server that is not Approved itself cannot be called.
_TOOLS = """
select t.name, t.server, t.latest_version, t.approved_version, t.credit_cost_per_call, t.timeout_s,
  t.calls_per_minute, v.definition,
  case when s.status <> 'Approved' then 'Disabled' else t.status end as status,
  coalesce(t.deprecated_message, s.deprecated_message) as deprecated_message,
  case when t.deprecated_message is null then s.successor else t.successor end as successor
from app.mcp_tools t
join app.tool_versions v on v.tool_id = t.tool_id
  and v.version = coalesce(t.approved_version, t.latest_version)
left join app.mcp_servers s on s.slug = t.server
where t.is_listed
order by t.name
"""

# Every change of a row gives it a newer transaction's number.
_FINGERPRINT = """
select (select count(*) from app.mcp_tools), (select count(*) from app.mcp_servers),
  (select coalesce(sum(xmin::text::bigint), 0)::text from app.mcp_tools),
  (select coalesce(sum(xmin::text::bigint), 0)::text from app.mcp_servers)
"""

_LATEST = """
select v.definition from app.mcp_tools t
join app.tool_versions v on v.tool_id = t.tool_id and v.version = t.latest_version
where t.is_listed and (t.server = :server or t.name = :name) order by t.name
"""

_STATES = """
select t.name, t.status, t.approved_version is distinct from t.latest_version as has_changed,
  t.credit_cost_per_call as price_micro
from app.mcp_tools t where t.is_listed and t.server = :server order by t.name
"""

_INSERT_TOOL = """
insert into app.mcp_tools (tool_id, name, server, gateway_url, credit_cost_per_call, timeout_s,
  calls_per_minute, status, latest_version, approved_version, developer_id)
values (:tool_id, :name, :server, :gateway_url, :price_micro, :timeout_s, :calls_per_minute,
  :status, 1, :approved, (select user_id from app.mcp_servers where slug = :server))
"""

_INSERT_VERSION = """
insert into app.tool_versions (tool_id, version, sha256, definition, approved_at)
select :tool_id, coalesce(max(version), 0) + 1, :sha256, :definition,
  case when :approved then now() end
from app.tool_versions where tool_id = :tool_id
on conflict (tool_id, sha256) do update
  set approved_at = coalesce(app.tool_versions.approved_at, excluded.approved_at)
returning version, approved_at is not null as is_approved
"""

_TOUCH = """
update app.mcp_tools
set gateway_url = :gateway_url, credit_cost_per_call = :price_micro, timeout_s = :timeout_s,
  calls_per_minute = :calls_per_minute, is_listed = true, updated_at = now()
where tool_id = :tool_id
  and (gateway_url, credit_cost_per_call, timeout_s, calls_per_minute, is_listed)
  is distinct from (:gateway_url, cast(:price_micro as bigint), cast(:timeout_s as float8),
    cast(:calls_per_minute as integer), true)
"""

_TERMS = """
update app.mcp_tools
set credit_cost_per_call = :price_micro, timeout_s = :timeout_s,
  calls_per_minute = :calls_per_minute, updated_at = now()
where tool_id = :tool_id
"""

_STATE = """
update app.mcp_tools
set status = :status, latest_version = :latest, approved_version = :approved, updated_at = now()
where tool_id = :tool_id
"""

_APPROVE_VERSION = """
update app.tool_versions set approved_at = coalesce(approved_at, now())
where tool_id = :tool_id and version = :version
"""

_UNLIST = """
update app.mcp_tools set is_listed = false, updated_at = now()
where is_listed and {where} returning name
"""


@dataclass(frozen=True, slots=True)
class ToolRow:
    """A tool's present state, with the hash of the definition its server gave last."""

    tool_id: UUID
    name: str
    status: Status
    latest_version: int
    approved_version: int | None
    is_listed: bool
    sha256: str


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms a tool is called: micro-credits, seconds, calls a minute (None: no own)."""

    price_micro: int
    timeout_s: float
    calls_per_minute: int | None


@dataclass(frozen=True, slots=True)
class ToolState:
    """Where a listed tool stands, for those who look after it."""

    name: str
    status: Status
    has_changed: bool
    price_micro: int


async def lock(uow: UnitOfWork) -> None:
    """Wait until no other transaction writes the registry; held until the end of this one."""
    await uow.execute(_LOCK)


async def fingerprint(uow: UnitOfWork) -> tuple[Any, ...]:
    """A value that is another one whenever servers or tools have changed."""
    (row,) = await uow.fetch(_FINGERPRINT)
    return row


async def rows_of(uow: UnitOfWork, server: str) -> dict[str, ToolRow]:
    """Every tool the server ever had, by full name."""
    result = await uow.execute(_ROWS, {"server": server, "name": None})
    return {row.name: ToolRow(**row._asdict()) for row in result}


async def row_of(uow: UnitOfWork, full_name: str) -> ToolRow | None:
    """One tool, or None."""
    row = (await uow.execute(_ROWS, {"server": None, "name": full_name})).one_or_none()
    return None if row is None else ToolRow(**row._asdict())


async def latest_definitions(
    uow: UnitOfWork, server: str | None = None, *, tool: str | None = None
) -> list[dict[str, Any]]:
    """The definitions that a server, or one tool of it, gave last; listed tools by name."""
    rows = await uow.execute(_LATEST, {"server": server, "name": tool})
    return [row.definition for row in rows]


async def states_of(uow: UnitOfWork, server: str) -> list[ToolState]:
    """The listed tools of a server, by name."""
    rows = await uow.execute(_STATES, {"server": server})
    return [ToolState(**row._asdict()) for row in rows]


async def add(
    uow: UnitOfWork,
    server: ServerConfig,
    definition: ToolDefinition,
    terms: Terms,
    *,
    is_approved: bool,
) -> None:
    """Insert a tool with its first version."""
    tool_id = new_id()
    values = asdict(terms) | {
        "tool_id": tool_id,
        "name": definition.full_name,
        "server": server.name,
        "gateway_url": server.gateway_url,
        "status": "Approved" if is_approved else "Pending",
        "approved": 1 if is_approved else None,
    }
    await uow.execute(_INSERT_TOOL, values)
    await add_version(uow, tool_id, definition, is_approved=is_approved)


async def add_version(
    uow: UnitOfWork, tool_id: UUID, definition: ToolDefinition, *, is_approved: bool
) -> tuple[int, bool]:
    """The number of this definition, new or seen before, and whether it is approved."""
    result = await uow.execute(
        _INSERT_VERSION,
        {
            "tool_id": tool_id,
            "sha256": definition.sha256,
            "definition": Jsonb(definition.as_dict()),
            "approved": is_approved,
        },
    )
    row = result.one()
    return row.version, row.is_approved


async def touch(uow: UnitOfWork, tool_id: UUID, gateway_url: str, terms: Terms) -> None:
    """Bring address and terms to the server's, and list the tool."""
    values = asdict(terms) | {"tool_id": tool_id, "gateway_url": gateway_url}
    await uow.execute(_TOUCH, values)


async def set_terms(uow: UnitOfWork, tool_id: UUID, terms: Terms) -> None:
    """Set a tool's terms, listed or not."""
    await uow.execute(_TERMS, asdict(terms) | {"tool_id": tool_id})


async def set_state(
    uow: UnitOfWork, tool_id: UUID, *, status: Status, latest: int, approved: int | None
) -> None:
    """Set status and versions."""
    await uow.execute(
        _STATE, {"tool_id": tool_id, "status": status, "latest": latest, "approved": approved}
    )


async def approve_version(uow: UnitOfWork, tool_id: UUID, version: int) -> None:
    """Record when a version was first approved."""
    await uow.execute(_APPROVE_VERSION, {"tool_id": tool_id, "version": version})


async def unlist(uow: UnitOfWork, names: Collection[str]) -> tuple[str, ...]:
    """Take the tools of these names out of the list; return those that were in it."""
    result = await uow.execute(_UNLIST.format(where="name = any(:names)"), {"names": list(names)})
    return tuple(sorted(row.name for row in result))


async def unlist_except(uow: UnitOfWork, servers: Collection[str]) -> tuple[str, ...]:
    """Take the tools of every other configured server out of the list; return their names."""
    where = (
        "server <> all(:servers) and not exists"
        " (select 1 from app.mcp_servers s where s.slug = app.mcp_tools.server)"
    )
    result = await uow.execute(_UNLIST.format(where=where), {"servers": list(servers)})
    return tuple(sorted(row.name for row in result))


async def tools(uow: UnitOfWork) -> Sequence[Tool]:
    """Every listed tool, by name."""
    return [_tool(row) for row in await uow.execute(_TOOLS)]


def _tool(row: Any) -> Tool:
    message = row.deprecated_message
    return Tool(
        full_name=row.name,
        server=row.server,
        definition=ToolDefinition.from_dict(row.server, row.definition),
        status=row.status,
        has_changed=row.approved_version not in (None, row.latest_version),
        price_micro=row.credit_cost_per_call,
        timeout_s=row.timeout_s,
        calls_per_minute=row.calls_per_minute,
        deprecated=None if message is None else Deprecation(message, row.successor),
    )
