"""Constructs every module and hands each what it needs; nothing is started here."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from uuid import UUID

from app.agents import Templates
from app.auth import Auth, token_verifier
from app.billing import Billing
from app.kernel.clock import SystemClock
from app.kernel.crypto import load_or_create_key
from app.kernel.db import Database
from app.kernel.metrics import Metrics
from app.kernel.principal import Principal
from app.kernel.settings import Settings
from app.orchestration import Admission, Intake, JobLimits, Jobs
from app.proxy import ToolProxy, python_tool
from app.registry import ServerConfig, make_registry
from app.sandbox import make_sandbox
from app.storage import LocalBlobs, Storage
from app.surfaces.safe import finder, open_safe
from app.surfaces.services import Services
from app.wiring.catalogue import catalogue
from app.wiring.hub import HubAddress, make_database
from app.wiring.sharing import make_limiter, make_wakeups
from app.wiring.webhooks import make_webhooks
from app.wiring.working import make_lifecycle, make_worker

_SANDBOX_MICRO = 20_000


def _resolver(database: Database, storage: Storage) -> Callable[[Principal, UUID], Awaitable[Path]]:
    async def resolve(principal: Principal, file_id: UUID) -> Path:
        async with database.begin(principal) as uow:
            return storage.path(await storage.get(uow, file_id))

    return resolve


def _storage(settings: Settings, clock: SystemClock) -> Storage:
    home = settings.home.expanduser().resolve()
    key = load_or_create_key(home / "secrets" / "link.key")
    return Storage(
        LocalBlobs(home / "files"),
        clock,
        key,
        settings.upload_limit,
        link_ttl=settings.link_ttl,
    )


def build(
    settings: Settings,
    address: HubAddress,
    servers: Sequence[ServerConfig],
    *,
    has_worker: bool = True,
) -> Services:
    """Construct every module; nothing is started yet."""
    clock, metrics = SystemClock(), Metrics()
    wakeups, database = make_wakeups(settings, address, metrics), make_database(settings, address)
    billing, registry = Billing(), make_registry(settings, wakeups, metrics)
    storage, sandboxing = _storage(settings, clock), make_sandbox(settings, metrics)
    safe = open_safe(settings, database, wakeups, clock, finder(registry, servers))
    proxy = ToolProxy(
        registry=registry,
        limiter=make_limiter(settings, clock, metrics),
        settings=settings,
        resolve_file=_resolver(database, storage),
        builtins=[python_tool(sandboxing, settings, price_micro=_SANDBOX_MICRO)],
        clock=clock,
        servers=servers,
        on_listed=catalogue(database, registry, billing),
        metrics=metrics,
        credentials=safe.credentials,
    )
    admission, webhooks = Admission(wakeups), make_webhooks(settings, wakeups)
    lifecycle = make_lifecycle(billing, storage, wakeups, admission, webhooks)
    jobs = Jobs(billing, lifecycle, database, wakeups, settings.poll_seconds, admission)
    services = Services(
        settings=settings,
        database=database,
        wakeups=wakeups,
        auth=Auth(clock, token_verifier(settings, clock), is_sign_up_open=settings.jwt_sign_up),
        billing=billing,
        registry=registry,
        proxy=proxy,
        sandbox=sandboxing.sandbox,
        storage=storage,
        jobs=jobs,
        intake=Intake(jobs, database),
        templates=Templates(),
        worker=None,
        metrics=metrics,
        limits=JobLimits(wakeups),
        webhooks=webhooks,
        safe=safe,
        volumes=sandboxing.volumes,
    )
    return replace(services, worker=make_worker(services, lifecycle)) if has_worker else services
