"""What operators see of the queue and do with it, written once for every door."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import Field, StringConstraints

from app.kernel.principal import Principal, Scope
from app.orchestration import JOBS_TOPIC, Queue, Queues
from app.surfaces.context import Access
from app.surfaces.payloads import Payload, Text
from app.surfaces.services import Services
from app.surfaces.views import View

QueueKind = Annotated[Text, StringConstraints(min_length=1, max_length=200)]


class PauseIn(Payload):
    """Why a kind of job is paused."""

    reason: Annotated[Text, StringConstraints(max_length=500)] = ""


class QueueOut(View):
    """The jobs of one kind; each number is counted up to 10,000."""

    kind: str
    ready: int = Field(description="Waiting for a worker.")
    running: int
    oldest_s: float = Field(description="Age of the ready job that is next, in seconds.")
    is_paused: bool
    reason: str | None = Field(description="Why it is paused.")
    paused_at: datetime | None

    @classmethod
    def of(cls, queue: Queue) -> Self:
        """The view of a queue."""
        return cls.model_validate(queue)


class QueuesOut(View):
    """The queue by kind, and the jobs of all kinds that are not ready."""

    queues: list[QueueOut]
    future: int = Field(description="Due later: `run_at`, or a retry.")
    waiting: int = Field(description="Workflows that wait for something outside.")
    limited: int = Field(description="Behind a limit.")


class Operating:
    """The queue in the hands of an operator (scope `admin`)."""

    def __init__(self, services: Services, access: Access) -> None:
        self._access = access
        self._queues = Queues(lambda: services.wakeups.wake(JOBS_TOPIC))

    async def state(self, principal: Principal) -> QueuesOut:
        """What the queue holds."""
        principal.require(Scope.ADMIN)
        async with self._access.write(principal) as uow:
            found = await self._queues.state(uow)
        return QueuesOut(
            queues=[QueueOut.of(one) for one in found.kinds],
            future=found.future,
            waiting=found.waiting,
            limited=found.limited,
        )

    async def pause(self, principal: Principal, kind: str, reason: str) -> QueueOut:
        """Let jobs of a kind wait; those that run go on."""
        principal.require(Scope.ADMIN)
        async with self._access.write(principal) as uow:
            return QueueOut.of(await self._queues.pause(uow, kind, reason))

    async def resume(self, principal: Principal, kind: str) -> QueueOut:
        """Let jobs of a kind start again."""
        principal.require(Scope.ADMIN)
        async with self._access.write(principal) as uow:
            return QueueOut.of(await self._queues.resume(uow, kind))
