"""From a token's subject to a user of this platform."""

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from uuid import UUID

from app.auth import store
from app.auth.claims import Claims
from app.auth.jwt import TokenVerifier, is_token
from app.auth.types import IDENTITY_LINKED, Entrant
from app.kernel import audit
from app.kernel.clock import Clock
from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal
from app.kernel.uow import UnitOfWork

Welcome = Callable[[UnitOfWork, str], Awaitable[UUID]]
"""The user with a verified e-mail address, made if there is none."""

_REMEMBERED_S = 60.0
_MOST = 10_000


class Identities:
    """Whom tokens let in. A verdict is remembered for a minute, at most until the token's end."""

    def __init__(self, clock: Clock, tokens: TokenVerifier | None, welcome: Welcome | None) -> None:
        self._clock = clock
        self._tokens = tokens
        self._welcome = welcome
        self._seen: OrderedDict[bytes, tuple[float, Entrant]] = OrderedDict()

    def is_token(self, text: str) -> bool:
        """Whether tokens count here and `text` has the form of one."""
        return self._tokens is not None and is_token(text)

    def recall(self, token: str) -> Entrant | None:
        """Whom the token let in a moment ago."""
        seen = self._seen.get(_key(token))
        return None if seen is None or seen[0] <= self._clock.monotonic() else seen[1]

    async def verify(self, token: str) -> Claims:
        """What a token claims; `unauthenticated` if it is not believed."""
        if self._tokens is None:
            raise AppError(Code.UNAUTHENTICATED, "No tokens are accepted here.")
        return await self._tokens.verify(token)

    async def sign_in(self, uow: UnitOfWork, token: str, claims: Claims) -> Entrant:
        """The user whom the issuer calls so; `forbidden` if there is none."""
        user_id = await store.user_of(uow, claims.issuer, claims.subject)
        if user_id is None:
            user_id = await self._first_visit(uow, claims)
        principal = Principal("user", user_id, scopes=claims.scopes)
        entrant = Entrant(principal, claims.client, claims.issuer, claims.expires_at)
        uow.after_commit(lambda: self._remember(token, entrant))
        return entrant

    async def _first_visit(self, uow: UnitOfWork, claims: Claims) -> UUID:
        user_id = await self._known(uow, claims.subject)
        if user_id is None and self._welcome is not None and claims.email is not None:
            user_id = await self._welcome(uow, claims.email)
        if user_id is None:
            raise AppError(
                Code.FORBIDDEN,
                "The token's subject has no account here.",
                hint="Ask the operator for an account, or sign in as somebody who has one.",
            )
        linked = await store.link(uow, claims.issuer, claims.subject, user_id)
        if linked is None:
            raise AppError(Code.HUB_UNAVAILABLE, "The account is being linked.", hint="Try again.")
        if linked == user_id:
            details = {"issuer": claims.issuer, "subject": claims.subject}
            await audit.record(uow, IDENTITY_LINKED, f"user:{user_id}", details)
        return linked

    async def _known(self, uow: UnitOfWork, subject: str) -> UUID | None:
        """Where the issuer is the hub's own (Supabase), a subject is a user's id."""
        try:
            user_id = UUID(subject)
        except ValueError:
            return None
        return user_id if await store.has_user(uow, user_id) else None

    def _remember(self, token: str, entrant: Entrant) -> None:
        assert entrant.expires_at is not None
        left = (entrant.expires_at - self._clock.now()).total_seconds()
        until = self._clock.monotonic() + min(_REMEMBERED_S, left)
        self._seen[_key(token)] = (until, entrant)
        self._seen.move_to_end(_key(token))
        if len(self._seen) > _MOST:
            self._seen.popitem(last=False)


def _key(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
