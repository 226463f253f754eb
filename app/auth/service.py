"""Users, projects, and the credentials that name them: keys, tokens, tickets."""

import re
from collections.abc import Collection, Sequence
from datetime import datetime
from uuid import UUID

from app.auth import secrets, store, tickets
from app.auth.cache import CredentialCache
from app.auth.claims import Claims
from app.auth.identities import Identities
from app.auth.jwt import TokenVerifier
from app.auth.tickets import IssuedTicket
from app.auth.types import (
    TIERS,
    USER_CREATED,
    ApiKey,
    Credential,
    Entrant,
    IssuedKey,
    Project,
    Tier,
    User,
)
from app.kernel import audit, outbox
from app.kernel.clock import Clock
from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal, Scope
from app.kernel.uow import UnitOfWork

_EMAIL = re.compile(r"[^\s@\x00-\x1f]+@[^\s@\x00-\x1f]+")
_EMAIL_LENGTH = 254
_NAME_LENGTH = 100


class Auth:
    """Who may act. Writing needs the platform's unit of work (`principal.elevated()`)."""

    def __init__(
        self, clock: Clock, tokens: TokenVerifier | None = None, *, is_sign_up_open: bool = False
    ) -> None:
        """Without `tokens` only keys count; `is_sign_up_open` makes accounts at first visits."""
        self._clock = clock
        self._cache = CredentialCache(clock)
        self._identities = Identities(clock, tokens, self._visitor if is_sign_up_open else None)
        self._used: dict[UUID, datetime] = {}

    async def ensure_user(self, uow: UnitOfWork, email: str, tier: Tier = "Free") -> User:
        """The user of an e-mail address, made if there is none (then `auth.user_created`).

        A user who exists keeps the tier they have. Raises `invalid_input`.
        """
        address = _email(email)
        if tier not in TIERS:
            raise _invalid("tier", f"The tier must be one of {', '.join(TIERS)}.")
        user = await store.insert_user(uow, address, tier)
        if user is None:
            return await store.user_by_email(uow, address)
        await outbox.publish(uow, outbox.Event(USER_CREATED, {"user_id": str(user.user_id)}))
        await audit.record(uow, USER_CREATED, f"user:{user.user_id}", {"tier": tier})
        return user

    async def ensure_project(self, uow: UnitOfWork, user_id: UUID, name: str) -> Project:
        """The user's project of that name, made if there is none."""
        return await store.ensure_project(uow, user_id, _name(name))

    async def issue_key(
        self,
        uow: UnitOfWork,
        user_id: UUID,
        *,
        name: str,
        scopes: frozenset[str],
        project_id: UUID | None = None,
        expires_at: datetime | None = None,
    ) -> IssuedKey:
        """A new key for the user; its secret is in the answer and nowhere else.

        A user's own unit of work cannot issue scopes the user's key lacks. Raises
        `invalid_input`, `forbidden`, and `not_found` for a project of somebody else.
        """
        _check_scopes(uow.principal, scopes)
        self._check_expiry(expires_at)
        if project_id is not None and not await store.has_project(uow, user_id, project_id):
            raise AppError(Code.NOT_FOUND, "There is no such project.")
        secret = secrets.new_secret()
        key = await store.insert_key(
            uow,
            {
                "user_id": user_id,
                "project_id": project_id,
                "name": _name(name),
                "prefix": secrets.prefix_of(secret),
                "secret_hash": secrets.hash_of(secret),
                "scopes": sorted(scopes),
                "expires_at": expires_at,
            },
        )
        details = {"user_id": str(user_id), "scopes": sorted(scopes)}
        await audit.record(uow, "auth.key_issued", f"key:{key.key_id}", details)
        return IssuedKey(secret, key)

    async def list_keys(self, uow: UnitOfWork, user_id: UUID) -> list[ApiKey]:
        """The user's keys, newest first, revoked ones too."""
        return await store.keys(uow, user_id)

    async def revoke_key(self, uow: UnitOfWork, user_id: UUID, key_id: UUID) -> None:
        """Make a key useless: here at the commit, in other processes within five seconds.

        Repeating it changes nothing. Raises `not_found` unless the key is the user's.
        """
        if not await store.revoke(uow, user_id, key_id):
            raise AppError(Code.NOT_FOUND, "You have no such key.", hint="List your keys.")
        await audit.record(uow, "auth.key_revoked", f"key:{key_id}", {"user_id": str(user_id)})
        uow.after_commit(lambda: self._cache.forget(key_id))

    def recall(self, secret: str) -> Principal | None:
        """The principal of a key authenticated within the last seconds, without a database.

        None means "ask `authenticate`". Raises `unauthenticated` if the key has expired since.
        """
        if not secrets.is_secret(secret):
            return None
        found = self._cache.get(secrets.hash_of(secret))
        return None if found is None else _given(self._verdict(found))

    async def authenticate(self, uow: UnitOfWork, secret: str) -> Principal:
        """The principal of a key, read under the platform's unit of work.

        Raises `unauthenticated`, in the same words for every reason.
        """
        (verdict,) = await self.authenticate_many(uow, [secret])
        return _given(verdict)

    async def authenticate_many(
        self, uow: UnitOfWork, given: Sequence[str]
    ) -> list[Principal | AppError]:
        """The principal of each key in the order given, or the error `authenticate` raises."""
        ticket = self._cache.ticket()
        hashes = {secret: secrets.hash_of(secret) for secret in given if secrets.is_secret(secret)}
        rows = await store.credentials(uow, sorted(set(hashes.values()))) if hashes else {}

        def keep() -> None:
            for secret_hash, found in rows.items():
                self._cache.put(secret_hash, found, ticket)

        # Only at the commit: this transaction may be the one that made a key.
        uow.after_commit(keep)
        return [self._verdict(rows.get(hashes.get(secret, b""))) for secret in given]

    def is_token(self, text: str) -> bool:
        """Whether `text` is to be taken as a JWT here."""
        return self._identities.is_token(text)

    def recall_token(self, token: str) -> Entrant | None:
        """Whom a token let in within the last minute, unless it has expired since."""
        return self._identities.recall(token)

    async def verify(self, token: str) -> Claims:
        """What a token claims, without a database: `unauthenticated` if it is not believed."""
        return await self._identities.verify(token)

    async def sign_in(self, uow: UnitOfWork, token: str, claims: Claims) -> Entrant:
        """Whom a verified token lets in, under the platform's unit of work.

        Raises `forbidden` if its subject has no account here.
        """
        return await self._identities.sign_in(uow, token, claims)

    async def lapsed(self, uow: UnitOfWork, key_ids: Collection[UUID]) -> set[UUID]:
        """Those of the keys that let nobody in any more."""
        return await store.lapsed(uow, key_ids)

    async def issue_ticket(self, uow: UnitOfWork, entrant: Entrant) -> IssuedTicket:
        """A ticket that lets `entrant` in once, within 30 seconds; `rate_limited` beyond 20."""
        return await tickets.issue(uow, entrant)

    async def redeem_ticket(self, uow: UnitOfWork, ticket: str) -> Entrant:
        """Whom a ticket lets in, this once. Raises `unauthenticated`, always in the same words."""
        entrant = await tickets.redeem(uow, ticket)
        if entrant is None or await self._is_over(uow, entrant):
            raise AppError(
                Code.UNAUTHENTICATED,
                "The ticket is unknown, used or too old.",
                hint="Ask for a new one with POST /v1/mcp/tickets.",
            )
        return entrant

    async def _is_over(self, uow: UnitOfWork, entrant: Entrant) -> bool:
        if entrant.expires_at is not None and entrant.expires_at <= self._clock.now():
            return True
        key_id = entrant.principal.key_id
        return key_id is not None and bool(await store.lapsed(uow, [key_id]))

    async def _visitor(self, uow: UnitOfWork, email: str) -> UUID:
        return (await self.ensure_user(uow, email)).user_id

    async def record_use(self, uow: UnitOfWork) -> None:
        """Write when keys were used last; called now and then, apart from requests."""
        uses, self._used = sorted(self._used.items()), {}
        if uses:
            await store.mark_used(uow, uses)

    def _verdict(self, found: Credential | None) -> Principal | AppError:
        now = self._clock.now()
        if found is None or (found.expires_at is not None and found.expires_at <= now):
            return _unauthenticated()
        self._used[found.key_id] = now
        return Principal(
            kind="user",
            user_id=found.user_id,
            project_id=found.project_id,
            scopes=found.scopes,
            key_id=found.key_id,
        )

    def _check_expiry(self, expires_at: datetime | None) -> None:
        if expires_at is None:
            return
        if expires_at.tzinfo is None or expires_at <= self._clock.now():
            raise _invalid("expires_at", "A key must expire in the future, at a time with a zone.")


def _given(verdict: Principal | AppError) -> Principal:
    if isinstance(verdict, AppError):
        raise verdict
    return verdict


def _email(email: str) -> str:
    address = email.strip().lower()
    if len(address) > _EMAIL_LENGTH or _EMAIL.fullmatch(address) is None:
        raise _invalid("email", "This is not an e-mail address.")
    return address


def _name(name: str) -> str:
    stripped = name.strip()
    if not 1 <= len(stripped) <= _NAME_LENGTH or not stripped.isprintable():
        raise _invalid("name", f"A name has 1 to {_NAME_LENGTH} printable characters.")
    return stripped


def _check_scopes(principal: Principal, scopes: frozenset[str]) -> None:
    known = {scope.value for scope in Scope}
    if not scopes or not scopes <= known:
        raise _invalid("scopes", f"Scopes are one or more of {', '.join(sorted(known))}.")
    if principal.user_id is None or Scope.ADMIN in principal.scopes:
        return
    if missing := sorted(scopes - principal.scopes):
        raise AppError(
            Code.FORBIDDEN,
            f"Your key lacks {', '.join(missing)}, so it cannot give it to another.",
            hint="Ask for scopes that your own key has.",
            details={"missing": missing},
        )


def _invalid(field: str, message: str) -> AppError:
    return AppError(Code.INVALID_INPUT, message, details={"pointer": f"/{field}"})


def _unauthenticated() -> AppError:
    return AppError(
        Code.UNAUTHENTICATED,
        "The API key is missing, unknown, expired or revoked.",
        hint="Send `Authorization: Bearer uaol_...` with a valid key.",
    )
