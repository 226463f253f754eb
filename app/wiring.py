"""The one place that constructs modules, registers handlers and reactions, and starts them."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import UUID

from app.agents import AgentNodes, TaskRunner, Templates
from app.auth import Auth, token_verifier
from app.billing import Billing
from app.kernel.clock import SystemClock
from app.kernel.crypto import key_id, load_or_create_key
from app.kernel.db import Database
from app.kernel.egress import GuardedTransport
from app.kernel.embedded import EmbeddedHub, bootstrap
from app.kernel.errors import AppError, Code
from app.kernel.metrics import Metrics
from app.kernel.migrate import is_current, upgrade
from app.kernel.outbox import Handler, Relay
from app.kernel.principal import SERVICE, Principal
from app.kernel.ratelimit import Limiter
from app.kernel.settings import Settings
from app.kernel.uow import UnitOfWork
from app.kernel.wakeups import Wakeups
from app.orchestration import (
    Admission,
    Deliverer,
    Dispatcher,
    Intake,
    JobLimits,
    Jobs,
    Lifecycle,
    LimitKeeper,
    Retention,
    Scheduler,
    Sender,
    StepCharges,
    Watch,
    Webhooks,
    Worker,
    WorkflowLane,
    living_jobs,
    make_dispatcher,
)
from app.proxy import Follower, OnListed, ToolProxy, python_tool
from app.registry import Registry, ServerConfig, ToolDefinition, load_config, make_registry
from app.sandbox import make_sandbox
from app.storage import LocalBlobs, Storage
from app.surfaces.context import Access
from app.surfaces.safe import finder, open_safe
from app.surfaces.schedulejobs import ScheduleJobs
from app.surfaces.services import Services

_OWNER = "uaol_owner"
_BACKEND = "app_backend"
_TEND_S = 2.0
_SANDBOX_MICRO = 20_000
_BUNDLED_CONFIG = Path(__file__).parents[1] / "mcp_config.yaml"
_log = logging.getLogger(__name__)

Progress = Callable[[str], None]


def _silent(_message: str) -> None:
    return None


@dataclass(frozen=True, slots=True)
class HubAddress:
    """Where the database is: the application's login and the owner's, who migrates."""

    app_dsn: str
    owner_dsn: str
    is_embedded: bool


@asynccontextmanager
async def open_hub(settings: Settings, progress: Progress = _silent) -> AsyncIterator[HubAddress]:
    """The configured PostgreSQL, or the embedded one, started and migrated."""
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        yield HubAddress(url, url, is_embedded=False)
        return
    hub = EmbeddedHub(
        settings.home,
        version=settings.postgres_version,
        tcp_port=settings.postgres_tcp_port,
        settings={"shared_buffers": settings.postgres_shared_buffers},
    )
    progress("Starting PostgreSQL")
    running = await asyncio.to_thread(hub.start)
    try:
        address = HubAddress(running.dsn(_BACKEND), running.dsn(_OWNER), is_embedded=True)
        progress("Preparing the database")
        await asyncio.to_thread(bootstrap, running.dsn(running.superuser))
        await asyncio.to_thread(upgrade, address.owner_dsn)
        yield address
    finally:
        await asyncio.to_thread(hub.stop)


async def require_current(address: HubAddress) -> None:
    """Raise unless the database is at the newest revision (a hub of one's own migrates itself)."""
    if address.is_embedded or await asyncio.to_thread(is_current, address.app_dsn):
        return
    raise AppError(
        Code.HUB_UNAVAILABLE,
        "The database is not at the newest revision.",
        hint="Run `uaol migrate` with the same DATABASE_URL.",
    )


def reactions(billing: Billing, registry: Registry) -> Mapping[str, Handler]:
    """What modules do about each other's events."""

    async def open_wallet(uow: UnitOfWork, payload: Mapping[str, Any]) -> None:
        await billing.open_wallet(uow, UUID(payload["user_id"]))

    return {"auth.user_created": open_wallet, **registry.reactions()}


def _resolver(database: Database, storage: Storage) -> Callable[[Principal, UUID], Awaitable[Path]]:
    async def resolve(principal: Principal, file_id: UUID) -> Path:
        async with database.begin(principal) as uow:
            return storage.path(await storage.get(uow, file_id))

    return resolve


def _config_path(settings: Settings) -> Path:
    """The configured file; where none was named and there is none here, the bundled servers'."""
    path = settings.mcp_config
    is_default = path == type(settings).model_fields["mcp_config"].default
    return _BUNDLED_CONFIG if is_default and not path.exists() else path


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


def _webhook_key(settings: Settings) -> bytes:
    return load_or_create_key(settings.home.expanduser().resolve() / "secrets" / "webhook.key")


def _webhooks(settings: Settings, wakeups: Wakeups) -> Webhooks:
    return Webhooks(
        wakeups,
        _webhook_key(settings),
        base_url=settings.public_url or "",
        allow_private=settings.webhook_allow_private,
    )


def _lifecycle(
    billing: Billing,
    storage: Storage,
    wakeups: Wakeups,
    admission: Admission,
    webhooks: Webhooks,
) -> Lifecycle:
    return Lifecycle(
        billing,
        storage,
        wakeups,
        admission=admission,
        announce=webhooks.announce,
        charges=StepCharges().of,
    )


def _database(settings: Settings, address: HubAddress) -> Database:
    size, is_prepared = settings.db_pool_size, address.is_embedded
    return Database(address.app_dsn, pool_size=size, is_prepared=is_prepared)


def _limiter(settings: Settings, clock: SystemClock, metrics: Metrics) -> Limiter:
    """Limits of this process, or over all that share a Redis Cluster."""
    if settings.redis_url is None:
        return Limiter(clock)
    # Only who uses the cluster pays for the import of its client.
    from app.kernel.rediscluster import Cluster
    from app.kernel.sharedlimits import SharedLimiter

    cluster = Cluster(settings.redis_url.get_secret_value())
    prefix, replicas = settings.redis_prefix, settings.redis_replicas
    return SharedLimiter(cluster, clock, metrics, prefix=prefix, replicas=replicas)


def _wakeups(settings: Settings, address: HubAddress, metrics: Metrics) -> Wakeups:
    """Wake-ups over PostgreSQL, or over Redis with PostgreSQL for when that is away."""
    if settings.redis_url is None:
        return Wakeups(address.app_dsn)
    from app.kernel.rediswakeups import RedisWakeups

    url = settings.redis_url.get_secret_value()
    return RedisWakeups(address.app_dsn, url, prefix=settings.redis_prefix, metrics=metrics)


def build(
    settings: Settings,
    address: HubAddress,
    servers: Sequence[ServerConfig],
    *,
    has_worker: bool = True,
) -> Services:
    """Construct every module; nothing is started yet."""
    clock, metrics = SystemClock(), Metrics()
    wakeups = _wakeups(settings, address, metrics)
    database = _database(settings, address)
    billing, registry = Billing(), make_registry(settings, wakeups, metrics)
    storage, templates = _storage(settings, clock), Templates()
    sandboxing = make_sandbox(settings, metrics)
    safe = open_safe(settings, database, wakeups, clock, finder(registry, servers))
    proxy = ToolProxy(
        registry=registry,
        limiter=_limiter(settings, clock, metrics),
        settings=settings,
        resolve_file=_resolver(database, storage),
        builtins=[python_tool(sandboxing, settings, price_micro=_SANDBOX_MICRO)],
        clock=clock,
        servers=servers,
        on_listed=_catalogue(database, registry, billing),
        metrics=metrics,
        credentials=safe.credentials,
    )
    admission, webhooks = Admission(wakeups), _webhooks(settings, wakeups)
    lifecycle = _lifecycle(billing, storage, wakeups, admission, webhooks)
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
        templates=templates,
        worker=None,
        metrics=metrics,
        limits=JobLimits(wakeups),
        webhooks=webhooks,
        safe=safe,
        volumes=sandboxing.volumes,
    )
    return replace(services, worker=_worker(services, lifecycle)) if has_worker else services


def _worker(services: Services, lifecycle: Lifecycle) -> Worker:
    dispatcher = make_dispatcher(
        services.settings, services.database, services.wakeups, services.metrics
    )
    return Worker(
        transactions=services.database,
        wakeups=services.wakeups,
        lifecycle=lifecycle,
        billing=services.billing,
        proxy=services.proxy,
        handlers={"task": TaskRunner(services.templates, services.storage.put_bytes)},
        settings=services.settings,
        metrics=services.metrics,
        lanes=[_workflows(services, lifecycle, dispatcher)],
        dispatcher=dispatcher,
    )


def _workflows(services: Services, lifecycle: Lifecycle, dispatcher: Dispatcher) -> WorkflowLane:
    return WorkflowLane(
        transactions=services.database,
        wakeups=services.wakeups,
        lifecycle=lifecycle,
        billing=services.billing,
        proxy=services.proxy,
        settings=services.settings,
        runners={"agent": AgentNodes(services.templates, services.storage)},
        dispatcher=dispatcher,
    )


def _catalogue(database: Database, registry: Registry, billing: Billing) -> OnListed:
    """Pins what a server offers, shows it, and publishes its prices; at every start of a server."""

    async def listed(server: ServerConfig, definitions: Sequence[ToolDefinition]) -> None:
        async with database.begin(SERVICE) as uow:
            server = await registry.current(uow, server)
            report = await registry.pin(uow, server, definitions)
            await registry.follow(uow)
            for one in definitions:
                # A registered server's other prices came with its approval and its offers.
                if not server.is_guarded or one.full_name in report.added:
                    price = server.prices.of(one.name)
                    await billing.publish_price(uow, "tool", one.full_name, price)

    return listed


async def _publish_templates(services: Services) -> None:
    async with services.database.begin(SERVICE) as uow:
        for template in services.templates.all():
            await services.billing.publish_price(
                uow, "template", template.name, template.price_micro
            )
            if template.usage_rates:
                await services.billing.publish_usage(
                    uow, "template", template.name, template.usage_rates
                )


async def _retire_servers(services: Services) -> None:
    keep = {server.name for server in services.proxy.health()}
    async with services.database.begin(SERVICE) as uow:
        await services.registry.retire(uow, keep)
        await services.registry.refresh(uow)


async def _tend(services: Services) -> None:
    """Deliver events, fire schedules, release expired holds, record keys' use."""
    relay = Relay(services.database, reactions(services.billing, services.registry))
    make = ScheduleJobs(services, Access(services.database, services.auth))
    scheduler = Scheduler(services.database, services.jobs, make)
    watch = Watch(services.database, scheduler, services.metrics)
    retention = Retention(
        services.database, keep_days=services.settings.retention_days, metrics=services.metrics
    )
    while True:
        try:
            while await relay.run_once():
                pass
            await watch.run_once()
            async with services.database.begin(SERVICE) as uow:
                await services.billing.release_expired(uow, living=living_jobs)
                await services.record_use(uow)
            await retention.run_once()
        except AppError as error:
            _log.warning("upkeep interrupted", extra={"reason": error.message})
        await asyncio.sleep(_TEND_S)


@asynccontextmanager
async def opened(
    settings: Settings, progress: Progress = _silent, *, has_worker: bool = False
) -> AsyncIterator[Services]:
    """All modules over an open database, none of them started: enough to manage keys and tools."""
    async with open_hub(settings, progress) as address:
        await require_current(address)
        servers = load_config(_config_path(settings)).servers
        services = build(settings, address, servers, has_worker=has_worker)
        try:
            yield services
        finally:
            await services.database.close()


@asynccontextmanager
async def running(
    settings: Settings, progress: Progress = _silent, *, has_worker: bool = True
) -> AsyncIterator[Services]:
    """All modules, started; stopped in the reverse order at the end."""
    async with contextlib.AsyncExitStack() as stack:
        services = await stack.enter_async_context(
            opened(settings, progress, has_worker=has_worker)
        )
        await services.wakeups.start()
        stack.push_async_callback(services.wakeups.close)
        stack.push_async_callback(services.proxy.limiter.close)
        progress("Testing the sandbox")
        await services.sandbox.start()
        stack.push_async_callback(services.sandbox.close)
        stack.push_async_callback(services.close_clients)
        progress("Starting the tool servers")
        await services.proxy.start()
        await _retire_servers(services)
        await _publish_templates(services)
        follower = Follower(services.database, services.wakeups, services.registry, services.proxy)
        await follower.run_once()
        tasks = [
            asyncio.create_task(_tend(services), name="upkeep"),
            asyncio.create_task(follower.run(), name="registry"),
        ]
        if services.limits is not None:
            keeper = _keeper(services, services.limits)
            tasks.append(asyncio.create_task(keeper.run(), name="limits"))
        transport = GuardedTransport(allow_private=settings.webhook_allow_private)
        stack.push_async_callback(transport.aclose)
        deliverer = _deliverer(services, transport)
        tasks.append(asyncio.create_task(deliverer.run(), name="webhooks"))
        if services.worker is not None:
            tasks.append(asyncio.create_task(services.worker.run(), name="worker"))
        stack.push_async_callback(_stop, tasks)
        yield services


def _deliverer(services: Services, transport: GuardedTransport) -> Deliverer:
    key = _webhook_key(services.settings)
    sender = Sender(transport, key, SystemClock())
    database, wakeups = services.database, services.wakeups
    return Deliverer(database, wakeups, sender, services.metrics, key_id(key))


def _keeper(services: Services, limits: JobLimits) -> LimitKeeper:
    wakeups = services.wakeups
    return LimitKeeper(services.database, wakeups, Admission(wakeups), limits)


async def _stop(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
