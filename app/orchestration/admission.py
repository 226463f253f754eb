"""What decides when a job that counts against limits may start."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from app.kernel.uow import UnitOfWork
from app.orchestration.types import JobRequest


class Admission(Protocol):
    """Asked in the transaction that queues a job and in the one that ends it."""

    async def admit(self, uow: UnitOfWork, jobs: Sequence[tuple[UUID, JobRequest]]) -> None:
        """Jobs with `limit_names` were queued, parked: make those ready that fit."""

    async def release(self, uow: UnitOfWork, jobs: Sequence[UUID]) -> None:
        """Such jobs have ended: make ready what waited for them."""


class OpenAdmission:
    """The platform without limits: no job names any."""

    async def admit(self, uow: UnitOfWork, jobs: Sequence[tuple[UUID, JobRequest]]) -> None:
        """Refuse: a job would wait for ever for somebody to admit it."""
        raise ValueError("this process has no limits to admit jobs to")

    async def release(self, uow: UnitOfWork, jobs: Sequence[UUID]) -> None:
        """Nothing waits here."""
