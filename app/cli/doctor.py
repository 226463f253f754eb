"""`uaol doctor`: checks what the platform stands on, and says what to do where it does not."""

import os
import shutil
import sys
from dataclasses import dataclass
from typing import Any

import click

from app.cli import make_console, run_async
from app.cli.view import table
from app.kernel.errors import AppError
from app.kernel.settings import Settings, load_settings

_LEAST_FREE = 2 * 2**30


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what, whether it is well, what was seen, what to do."""

    what: str
    is_well: bool
    seen: str
    advice: str = ""


def _disk(settings: Settings) -> Finding:
    folder = settings.home.expanduser().resolve()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    is_well = free >= _LEAST_FREE and os.access(folder, os.W_OK)
    return Finding(
        "disk",
        is_well,
        f"{free / 2**30:.1f} GiB free at {folder}",
        "" if is_well else "Free some space, or set UAOL_HOME to a folder you can write.",
    )


def _port(settings: Settings) -> Finding:
    from app.surfaces.listening import bind

    try:
        bind(settings.host, settings.port).close()
    except AppError as error:
        if _is_ours(settings):
            return Finding("port", True, f"{settings.host}:{settings.port} is this platform's")
        return Finding("port", False, error.message, error.hint or "")
    return Finding("port", True, f"{settings.host}:{settings.port} is free")


def _is_ours(settings: Settings) -> bool:
    """Whether the one who listens on the port is a server of this platform."""
    import httpx2

    url = f"http://{settings.host}:{settings.port}/healthz"
    try:
        body = httpx2.get(url, timeout=2.0, trust_env=False).json()
    except (httpx2.HTTPError, ValueError):
        return False
    return isinstance(body, dict) and "hub" in body


def _sandbox(services: Any) -> Finding:
    status = services.sandbox.status()
    if not status.available:
        return Finding("sandbox", False, status.reason, status.hint)
    seen = f"{status.executor} ({status.level}) passes its self-test"
    return Finding(
        "sandbox", True, f"{seen}; passed over: {status.reason}" if status.reason else seen
    )


def _counted(tools: int) -> str:
    return "1 tool" if tools == 1 else f"{tools} tools"


def _servers(services: Any) -> list[Finding]:
    return [
        Finding(
            f"server {server.name}",
            server.is_up,
            _counted(server.tools) if server.is_up else server.error or "down",
            ""
            if server.is_up
            else "Check its entry in mcp_config.yaml; `make install` installs the bundled ones.",
        )
        for server in services.proxy.health()
    ]


async def _hub(settings: Settings) -> list[Finding]:
    from app.wiring import running

    kind = "embedded PostgreSQL" if settings.database_url is None else "DATABASE_URL"
    try:
        async with running(settings, has_worker=False) as services:
            return [
                Finding("hub", True, f"{kind} answers and is at the newest revision"),
                _sandbox(services),
                *_servers(services),
            ]
    except AppError as error:
        return [Finding("hub", False, error.message, error.hint or "")]


async def _books(settings: Settings) -> list[Finding]:
    from app.kernel.principal import SERVICE
    from app.orchestration import audit
    from app.wiring import opened

    try:
        async with opened(settings) as services, services.database.begin(SERVICE) as uow:
            found = await audit(services.billing, uow)
    except AppError as error:
        return [Finding("books", False, error.message, error.hint or "")]
    if not found:
        return [Finding("books", True, "wallets, holds, settlements and jobs agree")]
    return [
        Finding("books", False, f"{one.what}: {one.subject}", f"user {one.user_id}: {one.figures}")
        for one in found
    ]


@click.command()
@click.option("--books", is_flag=True, help="Only compare wallets, holds, settlements and jobs.")
def doctor(*, books: bool) -> None:
    """Check database, sandbox, tool servers, port and disk."""
    settings = load_settings()
    findings = [] if books else [_disk(settings), _port(settings)]

    async def work() -> None:
        findings.extend(await (_books if books else _hub)(settings))

    run_async(work())
    rows = [["ok" if f.is_well else "NO", f.what, f.seen, f.advice] for f in findings]
    make_console().print(table("Doctor", ["", "what", "seen", "what to do"], rows))
    if not all(f.is_well for f in findings):
        sys.exit(3)
