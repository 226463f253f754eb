"""What the doors stand on: every module's facade, made once by the wiring and handed in whole."""

from dataclasses import dataclass, field
from uuid import UUID

from app.agents import Templates
from app.auth import Auth
from app.billing import Billing
from app.kernel.db import Database
from app.kernel.metrics import Metrics
from app.kernel.settings import Settings
from app.kernel.uow import UnitOfWork
from app.kernel.wakeups import Wakeups
from app.orchestration import Intake, JobLimits, Jobs, Webhooks, Worker
from app.proxy import ToolProxy
from app.registry import Registry
from app.sandbox import Sandbox, Volumes
from app.storage import Storage
from app.surfaces.safe import Safe


@dataclass(frozen=True)
class Services:
    """The process's modules; `worker` is None in a process that only serves."""

    settings: Settings
    database: Database
    wakeups: Wakeups
    auth: Auth
    billing: Billing
    registry: Registry
    proxy: ToolProxy
    sandbox: Sandbox
    storage: Storage
    jobs: Jobs
    intake: Intake
    templates: Templates
    worker: Worker | None
    metrics: Metrics
    limits: JobLimits | None = None
    webhooks: Webhooks | None = None
    safe: Safe | None = None
    volumes: Volumes = field(default_factory=Volumes)

    def limit_names(self, user_id: UUID, tool: str | None, key: str | None) -> tuple[str, ...]:
        """The limits a job of that tool and key counts against."""
        return () if self.limits is None else self.limits.names_for(user_id, tool=tool, key=key)

    async def record_use(self, uow: UnitOfWork) -> None:
        """Write when keys and secrets were used last; called now and then."""
        await self.auth.record_use(uow)
        if self.safe is not None:
            await self.safe.vault.record_use(uow)

    async def close_clients(self) -> None:
        """Stop the tool servers and close what reaches others."""
        await self.proxy.close()
        if self.safe is not None:
            await self.safe.web.close()
