"""Where commands run: against the server of `UAOL_URL`, or against one started here for them."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from app.billing import to_micro
from app.cli.connection import Connection, connect, unwrapped
from app.kernel.clock import SystemClock
from app.kernel.errors import AppError, Code
from app.kernel.principal import SERVICE, USER_SCOPES, Scope
from app.kernel.settings import Settings

LOCAL_EMAIL = "demo@localhost"
_KEY_LIFE = timedelta(hours=12)
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Session:
    """An open connection, and where it goes."""

    connection: Connection
    url: str
    is_local: bool


async def local_user(services: Any) -> UUID:
    """The local demo user with credits; both are made at the first call only."""
    async with services.database.begin(SERVICE) as uow:
        user = await services.auth.ensure_user(uow, LOCAL_EMAIL)
        await services.auth.ensure_project(uow, user.user_id, "default")
        amount = to_micro(services.settings.demo_credits)
        if amount:
            cause = f"demo:{user.user_id}"
            await services.billing.grant(uow, user.user_id, amount, cause=cause)
    user_id: UUID = user.user_id
    return user_id


async def issue_key(services: Any, user_id: UUID, name: str, *, is_brief: bool) -> tuple[str, UUID]:
    """A new key of the local user, who is also this machine's operator."""
    expires = SystemClock().now() + _KEY_LIFE if is_brief else None
    async with services.database.begin(SERVICE) as uow:
        project = await services.auth.ensure_project(uow, user_id, "default")
        issued = await services.auth.issue_key(
            uow,
            user_id,
            name=name,
            scopes=frozenset({*USER_SCOPES, Scope.ADMIN}),
            project_id=project.project_id,
            expires_at=expires,
        )
    return issued.secret, issued.key.key_id


@asynccontextmanager
async def local_services(settings: Settings, progress: Progress) -> AsyncIterator[Any]:
    """The whole platform, started in this process."""
    # Imported here: `uaol --help` should not wait for the agents' and servers' libraries.
    progress("Loading")
    from app.wiring import running

    async with running(settings, progress) as services:
        yield services


@asynccontextmanager
async def open_session(settings: Settings, progress: Progress) -> AsyncIterator[Session]:
    """A session with the server of `UAOL_URL`, or with one started here on a free port."""
    url = os.environ.get("UAOL_URL")
    with unwrapped():
        if url:
            async with connect(url, _remote_key()) as connection:
                yield Session(connection, url, is_local=False)
            return
        async with (
            local_services(settings, progress) as services,
            _served(settings, services) as session,
        ):
            yield session


@asynccontextmanager
async def _served(settings: Settings, services: Any) -> AsyncIterator[Session]:
    from app.main import create_app
    from app.surfaces.listening import bind, listening

    user_id = await local_user(services)
    secret, key_id = await issue_key(services, user_id, "this command", is_brief=True)
    sock = bind("127.0.0.1", 0)
    try:
        async with (
            listening(create_app(services), settings, sock) as url,
            connect(url, secret) as connection,
        ):
            yield Session(connection, url, is_local=True)
    finally:
        async with services.database.begin(SERVICE) as uow:
            await services.auth.revoke_key(uow, user_id, key_id)


def _remote_key() -> str:
    key = os.environ.get("UAOL_API_KEY", "")
    if not key:
        raise AppError(
            Code.UNAUTHENTICATED,
            "UAOL_URL is set, but UAOL_API_KEY is not.",
            hint="Set UAOL_API_KEY to a key of that server.",
        )
    return key
