"""Who calls, and as whom transactions are opened. Nothing else in the surfaces opens one."""

from collections.abc import Collection
from contextlib import AbstractAsyncContextManager
from typing import TypeVar
from uuid import UUID

from app.auth import Auth, Entrant, IssuedTicket
from app.kernel.errors import AppError, Code
from app.kernel.gather import Gather
from app.kernel.principal import SERVICE, Principal
from app.kernel.uow import Transactions, UnitOfWork

_SCHEME = "bearer "
# Keys whose time in memory is over come in crowds.
_TOGETHER = 200


class Access:
    """Turns an `Authorization` header into a principal, and a principal into transactions."""

    def __init__(self, transactions: Transactions, auth: Auth) -> None:
        self._transactions = transactions
        self._auth = auth
        self._look_ups = Gather(self._look_up, most=_TOGETHER, name="authenticate")

    async def authenticate(self, authorization: str | None) -> Principal:
        """The principal of a `Bearer` header; `unauthenticated` if it is absent or wrong."""
        secret = _bearer(authorization)
        if (recalled := self._auth.recall(secret)) is not None:
            return recalled
        if self._auth.is_token(secret):
            return (await self._sign_in(secret)).principal
        return await self._look_ups.ask(secret)

    async def admit(self, authorization: str | None) -> Entrant:
        """As `authenticate`, with what is known of the credential."""
        secret = _bearer(authorization)
        if self._auth.is_token(secret):
            return await self._sign_in(secret)
        principal = await self.authenticate(authorization)
        return Entrant(principal, str(principal.key_id))

    async def _sign_in(self, token: str) -> Entrant:
        if (recalled := self._auth.recall_token(token)) is not None:
            return recalled
        # The issuer's keys may have to be fetched, so no transaction is open yet.
        claims = await self._auth.verify(token)
        async with self._transactions.begin(SERVICE) as uow:
            return await self._auth.sign_in(uow, token, claims)

    async def issue_ticket(self, entrant: Entrant) -> IssuedTicket:
        """A ticket that lets `entrant` in once more, from where no header can be sent."""
        async with self.write(entrant.principal) as uow:
            return await self._auth.issue_ticket(uow, entrant)

    async def redeem(self, ticket: str) -> Entrant:
        """Whom a ticket lets in, this once; `unauthenticated` if it is no good."""
        async with self._transactions.begin(SERVICE) as uow:
            return await self._auth.redeem_ticket(uow, ticket)

    async def lapsed(self, key_ids: Collection[UUID]) -> set[UUID]:
        """Those of the API keys that let nobody in any more."""
        async with self._transactions.begin(SERVICE) as uow:
            return await self._auth.lapsed(uow, key_ids)

    async def _look_up(self, secrets: list[str]) -> list[Principal | AppError]:
        async with self._transactions.begin(SERVICE) as uow:
            return await self._auth.authenticate_many(uow, secrets)

    def read(self, principal: Principal) -> AbstractAsyncContextManager[UnitOfWork]:
        """A transaction that sees the principal's own rows and can change nothing."""
        return self._transactions.begin(principal)

    def platform(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """A transaction of the platform for no user in particular. It sees all rows."""
        return self._transactions.begin(SERVICE)

    def write(self, principal: Principal) -> AbstractAsyncContextManager[UnitOfWork]:
        """A transaction of the platform for this user. It sees all rows: check ownership."""
        return self._transactions.begin(principal.elevated())


def _bearer(authorization: str | None) -> str:
    if authorization is None or not authorization.lower().startswith(_SCHEME):
        raise AppError(
            Code.UNAUTHENTICATED,
            "This needs an API key.",
            hint="Send the header `Authorization: Bearer <key>`.",
        )
    return authorization[len(_SCHEME) :].strip()


OwnedT = TypeVar("OwnedT")


def owned(principal: Principal, thing: OwnedT, user_id: UUID, what: str) -> OwnedT:
    """`thing` if it is the principal's own, else `not_found`, as if it did not exist."""
    if user_id != principal.owner:
        raise AppError(Code.NOT_FOUND, f"There is no such {what}.")
    return thing
