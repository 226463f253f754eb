"""What the doors stand on: every module's facade, made once by the wiring and handed in whole."""

from dataclasses import dataclass
from uuid import UUID

from app.agents import Templates
from app.auth import Auth
from app.billing import Billing
from app.kernel.db import Database
from app.kernel.metrics import Metrics
from app.kernel.settings import Settings
from app.kernel.wakeups import Wakeups
from app.orchestration import Intake, JobLimits, Jobs, Webhooks, Worker
from app.proxy import ToolProxy
from app.registry import Registry
from app.sandbox import Sandbox
from app.storage import Storage


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

    def limit_names(self, user_id: UUID, tool: str | None, key: str | None) -> tuple[str, ...]:
        """The limits a job of that tool and key counts against."""
        return () if self.limits is None else self.limits.names_for(user_id, tool=tool, key=key)
