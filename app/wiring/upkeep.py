"""What every process does beside its work: events, schedules, expired holds, limits, retention."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from app.billing import Billing
from app.kernel.errors import AppError
from app.kernel.outbox import Handler, Relay
from app.kernel.principal import SERVICE
from app.kernel.uow import UnitOfWork
from app.orchestration import (
    Admission,
    JobLimits,
    LimitKeeper,
    Retention,
    Scheduler,
    Watch,
    living_jobs,
)
from app.registry import Registry
from app.surfaces.context import Access
from app.surfaces.schedulejobs import ScheduleJobs
from app.surfaces.services import Services

_TEND_S = 2.0
_log = logging.getLogger(__name__)


def reactions(billing: Billing, registry: Registry) -> Mapping[str, Handler]:
    """What modules do about each other's events."""

    async def open_wallet(uow: UnitOfWork, payload: Mapping[str, Any]) -> None:
        await billing.open_wallet(uow, UUID(payload["user_id"]))

    return {"auth.user_created": open_wallet, **registry.reactions()}


async def tend(services: Services) -> None:
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


def make_keeper(services: Services, limits: JobLimits) -> LimitKeeper:
    """Who lets waiting jobs in as limits come free."""
    wakeups = services.wakeups
    return LimitKeeper(services.database, wakeups, Admission(wakeups), limits)
