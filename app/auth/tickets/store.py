"""The SQL of tickets. A row goes when its ticket is used, so that no process takes one twice."""

from datetime import datetime
from uuid import UUID

from app.auth.types import Entrant
from app.kernel.principal import Principal
from app.kernel.uow import UnitOfWork

# Those of one user that wait to be used. Locked rows belong to another process that tidies.
_TIDY = """
delete from app.mcp_ticket where ticket_hash in (
  select ticket_hash from app.mcp_ticket where expires_at < now() limit 100
  for update skip locked)
"""
_INSERT = """
insert into app.mcp_ticket
  (ticket_hash, user_id, project_id, key_id, scopes, client, issuer, valid_until, expires_at)
select $1, $2, $3, $4, $5, $6, $7, $8, now() + make_interval(secs => $9)
where (select count(*) from app.mcp_ticket where user_id = $2 and expires_at > now()) < $10
returning expires_at
"""
_TAKE = """
delete from app.mcp_ticket where ticket_hash = $1
returning user_id, project_id, key_id, scopes, client, issuer, valid_until, expires_at > now()
"""


async def insert(
    uow: UnitOfWork, ticket_hash: bytes, entrant: Entrant, lifetime_s: float, most: int
) -> datetime | None:
    """Keep a ticket; when it expires, or None if the user has `most` that wait."""
    principal = entrant.principal
    await uow.fetch(_TIDY)
    rows: list[tuple[datetime]] = await uow.fetch(
        _INSERT,
        ticket_hash,
        principal.owner,
        principal.project_id,
        principal.key_id,
        sorted(principal.scopes),
        entrant.client,
        entrant.issuer,
        entrant.expires_at,
        lifetime_s,
        most,
    )
    return rows[0][0] if rows else None


async def take(uow: UnitOfWork, ticket_hash: bytes) -> Entrant | None:
    """Whom a ticket lets in; it is gone afterwards. None if it is unknown, used or too old."""
    for (
        user_id,
        project_id,
        key_id,
        scopes,
        client,
        issuer,
        valid_until,
        is_live,
    ) in await uow.fetch(_TAKE, ticket_hash):
        if is_live:
            principal = _principal(user_id, project_id, scopes, key_id)
            return Entrant(principal, client, issuer, valid_until)
    return None


def _principal(
    user_id: UUID, project_id: UUID | None, scopes: list[str], key_id: UUID | None
) -> Principal:
    return Principal("user", user_id, project_id, frozenset(scopes), key_id)
