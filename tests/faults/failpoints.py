"""Faults between every pair of statements, by a wrapper around what opens transactions.

Points are counted over all transactions of the wrapper: before each statement, before each
commit, and after it, when the work is durable and its answer is lost. Exactly one point fires.
"""

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import CursorResult, Executable

from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal
from app.kernel.uow import Params, Transactions, UnitOfWork

Fault = Callable[[UnitOfWork | None], Awaitable[None]]
"""What happens at the point; it gets the open transaction, or None after the commit."""


class Failpoints:
    """`Transactions` in which the point number `at` (from 0) goes wrong."""

    def __init__(self, transactions: Transactions, at: int, fault: Fault) -> None:
        self._transactions = transactions
        self._left = at
        self._fault = fault
        self.has_fired = False

    async def reach(self, uow: UnitOfWork | None) -> None:
        """Count a point, and fail if it is the one."""
        self._left -= 1
        if self._left == -1:
            self.has_fired = True
            await self._fault(uow)

    @asynccontextmanager
    async def begin(self, principal: Principal) -> AsyncIterator[UnitOfWork]:
        async with self._transactions.begin(principal) as inner:
            uow = _CountedUnit(self, inner)
            yield uow
            await self.reach(inner)
        uow.committed()
        await self.reach(None)


class _CountedUnit(UnitOfWork):
    def __init__(self, points: Failpoints, inner: UnitOfWork) -> None:
        super().__init__(inner.conn, inner.principal, inner.assume)
        self._points = points

    async def execute(
        self, statement: str | Executable, params: Params = None
    ) -> CursorResult[Any]:
        await self._points.reach(self)
        return await super().execute(statement, params)

    async def fetch(self, *given: Any, **options: Any) -> Any:
        await self._points.reach(self)
        return await super().fetch(*given, **options)


def _away() -> AppError:
    return AppError(Code.HUB_UNAVAILABLE, "The database is away.")


async def lose_connection(uow: UnitOfWork | None) -> None:
    """The connection breaks; what was open is rolled back by the server."""
    if uow is not None:
        raw = await uow.conn.get_raw_connection()
        await raw.driver_connection.close()  # type: ignore[union-attr]
    raise _away()


def abort(state: str) -> Fault:
    """The server aborts the transaction with that SQLSTATE."""

    async def fault(uow: UnitOfWork | None) -> None:
        if uow is None:
            raise _away()
        await UnitOfWork.execute(
            uow, f"do $$ begin raise exception 'injected' using errcode = '{state}'; end $$"
        )

    return fault


async def die(uow: UnitOfWork | None) -> None:
    """The process is gone."""
    os.kill(os.getpid(), signal.SIGKILL)


ABORTS = {
    "deadlock": "40P01",
    "serialization": "40001",
    "statement time-out": "57014",
    "no connection left": "53300",
    "disk full": "53100",
}
FAULTS: dict[str, Fault] = {"connection": lose_connection} | {
    name: abort(state) for name, state in ABORTS.items()
}
