"""The database of one process: a pool, and the one place that sets role and claims."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import orjson
from psycopg import Error as DriverError
from psycopg.types.json import set_json_dumps, set_json_loads
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal
from app.kernel.uow import UnitOfWork

_ASSUME = """select set_config('role', %s, true), set_config('request.jwt.claims', %s, true),
  set_config('idle_in_transaction_session_timeout', '60s', true)"""
# The platform's statements look rows up by key. A plan made while a table was empty would
# scan it, and a cached one for ever. Before PostgreSQL 18 what is switched off counts as a huge
# cost, which would have each of them compiled.
_ASSUME_SERVICE = f"""{_ASSUME}, set_config('enable_seqscan', 'off', true),
  set_config('enable_bitmapscan', 'off', true), set_config('enable_hashjoin', 'off', true),
  set_config('enable_mergejoin', 'off', true), set_config('jit', 'off', true)
"""
# A host that is cut off is noticed within a minute, and leaves no lock behind.
_ALIVE = {
    "keepalives": 1,
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
_FULL = "53100"
_BUSY = {"40001", "40P01", "53300", "55P03", "57014"}

set_json_dumps(orjson.dumps)
set_json_loads(orjson.loads)


def _claims(principal: Principal) -> str:
    claims: dict[str, str] = {"role": principal.role}
    if principal.user_id is not None:
        claims["sub"] = str(principal.user_id)
    if principal.project_id is not None:
        claims["project_id"] = str(principal.project_id)
    return orjson.dumps(claims).decode()


def _assume(principal: Principal) -> tuple[str, Sequence[str]]:
    statement = _ASSUME_SERVICE if principal.kind == "service" else _ASSUME
    return statement, (principal.role, _claims(principal))


def translate(error: DBAPIError | DriverError) -> AppError | None:
    """The `AppError` for a fault of the database itself; None for a fault of the statement."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(cause, "sqlstate", None)
    if state == _FULL:
        return AppError(Code.HUB_DISK_FULL, "The database's disk is full.", hint="Free some space.")
    if state in _BUSY or state is None or state.startswith(("08", "57P")):
        return AppError(
            Code.HUB_UNAVAILABLE,
            "The database could not do this now.",
            hint="Try again; `uaol doctor` shows the state of the hub.",
            details={"sqlstate": state},
        )
    return None


class Database:
    """A pool of connections as a login role without rights of its own.

    Rights come from the role each transaction assumes (`authenticated` or `service_role`),
    set with `is_local = true`, so that a pooled connection keeps nothing of its last user.
    """

    def __init__(
        self, dsn: str, *, pool_size: int = 10, is_prepared: bool = True, wait_s: float = 30
    ) -> None:
        """`wait_s` is the longest wait for a connection while all of the pool's are in use."""
        self.dsn = dsn
        url = dsn.replace("postgresql://", "postgresql+psycopg://", 1)
        self._engine: AsyncEngine = create_async_engine(
            url,
            pool_size=pool_size,
            # A connection beyond the pool would be made and closed for one transaction.
            max_overflow=0,
            pool_timeout=wait_s,
            # A transaction pooler hands each transaction another backend, where a
            # statement prepared earlier does not exist.
            connect_args={"prepare_threshold": 5 if is_prepared else None, **_ALIVE},
        )

    @asynccontextmanager
    async def begin(self, principal: Principal) -> AsyncIterator[UnitOfWork]:
        """Open a transaction as `principal`; commit at the end, roll back on any error."""
        try:
            async with self._engine.connect() as conn, conn.begin():
                try:
                    uow = UnitOfWork(conn, principal, _assume(principal))
                    yield uow
                except asyncio.CancelledError:
                    # In the middle of a statement: its answer would be taken for the next one's.
                    await conn.invalidate()
                    raise
        except NoConnectionError as error:
            raise AppError(
                Code.HUB_UNAVAILABLE,
                "All database connections of this process are in use.",
                hint="Try again, or raise UAOL_DB_POOL_SIZE.",
            ) from error
        except (DBAPIError, DriverError) as error:
            if (known := translate(error)) is not None:
                raise known from error
            raise
        uow.committed()

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()
