"""The SQL of connections. Every query carries the user's id or the hash of a secret of a flow."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from app.kernel.uow import UnitOfWork
from app.proxy.oauth.types import Connection
from app.vault import Sealed, SecretRef, Slot

_SHOWN = """server, origin, issuer, status, scopes, wanted_scopes, expires_at, connected_at,
  refreshed_at"""
_MINE = "user_id = :user_id and server = :server"

_CONNECT = """
insert into app.oauth_connection
  (user_id, server, origin, issuer, scopes, wanted_scopes, expires_at)
values (:user_id, :server, :origin, :issuer, :scopes, :wanted_scopes, :expires_at)
on conflict (user_id, server) do update set
  origin = excluded.origin, issuer = excluded.issuer, status = 'connected',
  scopes = excluded.scopes, wanted_scopes = excluded.wanted_scopes,
  expires_at = excluded.expires_at, connected_at = now(), refreshed_at = now(),
  refreshing_until = null
"""

_LEASE = f"""
update app.oauth_connection set refreshing_until = now() + make_interval(secs => :lease_s)
where {_MINE} and status = 'connected'
  and (refreshing_until is null or refreshing_until < now())
returning server
"""

_REFRESHED = f"""
update app.oauth_connection set refreshing_until = null, refreshed_at = now(),
  expires_at = :expires_at, scopes = coalesce(cast(:scopes as text[]), scopes)
where {_MINE}
"""

_WANT = f"""
update app.oauth_connection set wanted_scopes = array(
  select distinct each from unnest(scopes || wanted_scopes || cast(:scopes as text[])) each
  order by each limit 100)
where {_MINE}
"""

_ADD_FLOW = """
insert into app.oauth_flow (flow_id, user_id, server, state_hash, browser_hash, kek_id, wrapped,
  ciphertext, expires_at)
values (:flow_id, :user_id, :server, :state_hash, :browser_hash, :kek_id, :wrapped, :ciphertext,
  now() + make_interval(secs => :lifetime_s))
"""

_FLOW = "flow_id, user_id, server, kek_id, wrapped, ciphertext"

_APPROVE = f"""
update app.oauth_flow set approved_at = now()
where flow_id = :flow_id and server = :server and browser_hash = :browser_hash
  and expires_at > now() and approved_at is null
returning {_FLOW}
"""

# Deleted by whoever comes first: a state is good once.
_TAKE = f"""
delete from app.oauth_flow
where state_hash = :state_hash and browser_hash = :browser_hash
  and expires_at > now() and approved_at is not null
returning {_FLOW}
"""


def secret_of(user_id: UUID, server: str) -> SecretRef:
    """Where the tokens of a connection are."""
    return SecretRef(user_id, "oauth", f"connection:{server}")


def _connection(row: Mapping[Any, Any]) -> Connection:
    lists = {"scopes": tuple(row["scopes"]), "wanted_scopes": tuple(row["wanted_scopes"])}
    return Connection(**{**row, **lists})


def _sealed(row: Sequence[Any]) -> tuple[str, Sealed]:
    flow_id, user_id, server, kek_id, wrapped, ciphertext = row
    slot = Slot(user_id, flow_id, 1)
    return server, Sealed(slot, kek_id, bytes(wrapped), bytes(ciphertext))


async def get(uow: UnitOfWork, user_id: UUID, server: str) -> Connection | None:
    """The user's connection with a server."""
    sql = f"select {_SHOWN} from app.oauth_connection where {_MINE}"
    rows = await uow.execute(sql, {"user_id": user_id, "server": server})
    row = rows.mappings().first()
    return None if row is None else _connection(row)


async def list_of(uow: UnitOfWork, user_id: UUID) -> list[Connection]:
    """All connections of the user, by server."""
    sql = f"select {_SHOWN} from app.oauth_connection where user_id = :user_id order by server"
    rows = await uow.execute(sql, {"user_id": user_id})
    return [_connection(row) for row in rows.mappings()]


async def connect(uow: UnitOfWork, user_id: UUID, values: Mapping[str, Any]) -> None:
    """Write a new connection in the place of the one before."""
    await uow.execute(_CONNECT, {"user_id": user_id, **values})


async def disconnect(uow: UnitOfWork, user_id: UUID, server: str) -> bool:
    """Delete a connection; False if there is none."""
    sql = f"delete from app.oauth_connection where {_MINE} returning server"
    rows = await uow.execute(sql, {"user_id": user_id, "server": server})
    return rows.first() is not None


async def lease(uow: UnitOfWork, user_id: UUID, server: str, lease_s: float) -> bool:
    """Take the right to use the refresh token; False while another has it."""
    values = {"user_id": user_id, "server": server, "lease_s": lease_s}
    return (await uow.execute(_LEASE, values)).first() is not None


async def release(uow: UnitOfWork, user_id: UUID, server: str) -> None:
    """Give the right back after a refresh that failed for now."""
    sql = f"update app.oauth_connection set refreshing_until = null where {_MINE}"
    await uow.execute(sql, {"user_id": user_id, "server": server})


async def refreshed(uow: UnitOfWork, user_id: UUID, server: str, values: Mapping[str, Any]) -> None:
    """Write that new tokens are in the vault, and give the right back."""
    await uow.execute(_REFRESHED, {"user_id": user_id, "server": server, **values})


async def mark_broken(uow: UnitOfWork, user_id: UUID, server: str) -> None:
    """Write that the user has to connect again."""
    sql = f"""
    update app.oauth_connection set status = 'broken', refreshing_until = null where {_MINE}
    """
    await uow.execute(sql, {"user_id": user_id, "server": server})


async def want(uow: UnitOfWork, user_id: UUID, server: str, scopes: Sequence[str]) -> None:
    """Add scopes that the next connection asks for, to those it has."""
    values = {"user_id": user_id, "server": server, "scopes": list(scopes)}
    await uow.execute(_WANT, values)


async def add_flow(uow: UnitOfWork, server: str, sealed: Sealed, values: Mapping[str, Any]) -> None:
    """Write a flow; those that have expired, and the user's other one for this server, go."""
    user_id = sealed.slot.user_id
    await uow.execute(
        "delete from app.oauth_flow where expires_at < now()"
        " or (user_id = :user_id and server = :server)",
        {"user_id": user_id, "server": server},
    )
    await uow.execute(
        _ADD_FLOW,
        {
            "flow_id": sealed.slot.secret_id,
            "user_id": user_id,
            "server": server,
            "kek_id": sealed.kek_id,
            "wrapped": sealed.wrapped,
            "ciphertext": sealed.ciphertext,
            **values,
        },
    )


async def approve(
    uow: UnitOfWork, flow_id: UUID, server: str, browser_hash: bytes
) -> Sealed | None:
    """Note the user's consent, once, given in the browser that the flow began in."""
    values = {"flow_id": flow_id, "server": server, "browser_hash": browser_hash}
    row = (await uow.execute(_APPROVE, values)).first()
    return None if row is None else _sealed(row)[1]


async def take(
    uow: UnitOfWork, state_hash: bytes, browser_hash: bytes
) -> tuple[str, Sealed] | None:
    """Take the approved flow of a state out, with its server; None if there is none."""
    values = {"state_hash": state_hash, "browser_hash": browser_hash}
    row = (await uow.execute(_TAKE, values)).first()
    return None if row is None else _sealed(row)
