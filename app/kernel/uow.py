"""The unit of work: one transaction, one principal. Facades take it first and never commit."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, cast

from psycopg import AsyncConnection as DriverConnection
from psycopg import AsyncRawCursor
from sqlalchemy import CursorResult, Executable, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.kernel.principal import Principal

Params = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None


class UnitOfWork:
    """An open transaction whose role and claims are the principal's."""

    def __init__(
        self,
        conn: AsyncConnection,
        principal: Principal,
        assume: tuple[str, Sequence[str]] | None,
    ) -> None:
        """`assume`, a statement and its values, takes on the role; it goes before the first."""
        self.conn = conn
        self.principal = principal
        self.assume: tuple[str, Sequence[str]] | None = assume
        self._driver: DriverConnection[Any] | None = None
        self._after_commit: list[Callable[[], None]] = []

    async def execute(
        self, statement: str | Executable, params: Params = None
    ) -> CursorResult[Any]:
        """Run one statement; a string is SQL with `:name` parameters."""
        if isinstance(statement, str):
            statement = text(statement)
        if self.assume is not None:
            async with self._together():
                pass
        result = await self.conn.execute(statement, params)
        assert isinstance(result, CursorResult)
        return result

    async def fetch(
        self, statement: str, *values: object, around: tuple[str, str] | None = None
    ) -> list[tuple[Any, ...]]:
        """Run one statement of a hot path past SQLAlchemy: `$1` parameters, plain tuples back.

        `around` is run before and after it, in the same round trip.
        """
        cursor = AsyncRawCursor(await self._connection())
        is_prepared = cursor.connection.prepare_threshold is not None
        asked, options = statement.encode(), {"prepare": is_prepared, "binary": True}
        if self.assume is None and around is None:
            await cursor.execute(asked, values, **options)
        else:
            async with self._together() as driver:
                if around:
                    await driver.execute(around[0].encode())
                await cursor.execute(asked, values, **options)
                if around:
                    await driver.execute(around[1].encode())
        rows = await cursor.fetchall() if cursor.description else []
        await cursor.close()
        return rows

    async def _connection(self) -> DriverConnection[Any]:
        if self._driver is None:
            raw = await self.conn.get_raw_connection()
            self._driver = cast(DriverConnection[Any], raw.driver_connection)
        return self._driver

    @asynccontextmanager
    async def _together(self) -> AsyncIterator[DriverConnection[Any]]:
        """What is sent within goes in one flush, and before it BEGIN and the role where due."""
        driver = await self._connection()
        async with driver.pipeline():
            if self.assume is not None:
                statement, values = self.assume
                await driver.execute(statement.encode(), values)
            yield driver
        self.assume = None

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call `callback` once the transaction is durable; never if it rolls back."""
        self._after_commit.append(callback)

    def committed(self) -> None:
        """Run what waits for the commit; called by whoever opened the transaction."""
        for callback in self._after_commit:
            callback()


class Transactions(Protocol):
    """What opens units of work; handed to code that must write in the middle of long work."""

    def begin(self, principal: Principal) -> AbstractAsyncContextManager[UnitOfWork]: ...
