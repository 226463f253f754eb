"""Tickets: 30 seconds, one use, the rights of the credential that asked for it."""

import hashlib
import re
import secrets
from dataclasses import dataclass, field
from datetime import datetime

from app.auth.tickets import store
from app.auth.types import Entrant
from app.kernel.errors import AppError, Code
from app.kernel.uow import UnitOfWork

LIFETIME_S = 30.0
_MOST = 20
_MARK = "uaolt_"
_FORM = re.compile(r"uaolt_[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class IssuedTicket:
    """A new ticket, shown this once."""

    ticket: str = field(repr=False)
    expires_at: datetime


def is_ticket(text: str) -> bool:
    """Whether `text` has the form of a ticket."""
    return _FORM.fullmatch(text) is not None


async def issue(uow: UnitOfWork, entrant: Entrant) -> IssuedTicket:
    """A ticket for whoever `entrant` is; `rate_limited` while 20 of theirs wait to be used."""
    ticket = _MARK + secrets.token_urlsafe(32)
    expires_at = await store.insert(uow, _hash_of(ticket), entrant, LIFETIME_S, _MOST)
    if expires_at is None:
        raise AppError(
            Code.RATE_LIMITED,
            f"{_MOST} tickets wait to be used.",
            hint=f"Use them, or wait {LIFETIME_S:.0f} s and ask again.",
            details={"retry_after_s": LIFETIME_S},
        )
    return IssuedTicket(ticket, expires_at)


async def redeem(uow: UnitOfWork, ticket: str) -> Entrant | None:
    """Whom the ticket lets in, this once; None if it is unknown, used or too old."""
    return await store.take(uow, _hash_of(ticket)) if is_ticket(ticket) else None


def _hash_of(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode()).digest()
