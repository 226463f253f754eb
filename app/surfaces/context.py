"""Who calls, and as whom transactions are opened. Nothing else in the surfaces opens one."""

from contextlib import AbstractAsyncContextManager
from typing import TypeVar
from uuid import UUID

from app.auth import Auth
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
        if authorization is None or not authorization.lower().startswith(_SCHEME):
            raise AppError(
                Code.UNAUTHENTICATED,
                "This needs an API key.",
                hint="Send the header `Authorization: Bearer <key>`.",
            )
        secret = authorization[len(_SCHEME) :].strip()
        if (recalled := self._auth.recall(secret)) is not None:
            return recalled
        return await self._look_ups.ask(secret)

    async def _look_up(self, secrets: list[str]) -> list[Principal | AppError]:
        async with self._transactions.begin(SERVICE) as uow:
            return await self._auth.authenticate_many(uow, secrets)

    def read(self, principal: Principal) -> AbstractAsyncContextManager[UnitOfWork]:
        """A transaction that sees the principal's own rows and can change nothing."""
        return self._transactions.begin(principal)

    def write(self, principal: Principal) -> AbstractAsyncContextManager[UnitOfWork]:
        """A transaction of the platform for this user. It sees all rows: check ownership."""
        return self._transactions.begin(principal.elevated())


OwnedT = TypeVar("OwnedT")


def owned(principal: Principal, thing: OwnedT, user_id: UUID, what: str) -> OwnedT:
    """`thing` if it is the principal's own, else `not_found`, as if it did not exist."""
    if user_id != principal.owner:
        raise AppError(Code.NOT_FOUND, f"There is no such {what}.")
    return thing
