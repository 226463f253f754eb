"""What a handler may do while its job runs; everything it writes is fenced by its lease."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from app.billing import Billing
from app.kernel.errors import AppError
from app.kernel.principal import USER_SCOPES, Principal
from app.kernel.uow import Transactions, UnitOfWork
from app.orchestration.lifecycle import Lifecycle
from app.orchestration.metering import usage_of
from app.orchestration.types import JobView, Lease
from app.orchestration.usage import UsageAccount
from app.proxy import ToolCall, ToolProxy, ToolResult, egress_of, isolation_of


class RunContext:
    """The `JobContext` of one attempt."""

    def __init__(
        self,
        lease: Lease,
        transactions: Transactions,
        lifecycle: Lifecycle,
        proxy: ToolProxy,
        billing: Billing,
    ) -> None:
        self._lease = lease
        self._transactions = transactions
        self._lifecycle = lifecycle
        self._proxy = proxy
        self._account = UsageAccount(billing, lease.job)
        self._is_cancelled = lease.is_cancel_requested
        self._principal = Principal(
            "user", lease.job.user_id, lease.job.project_id, frozenset(USER_SCOPES)
        )

    @property
    def job(self) -> JobView:
        """The job as it was when claimed."""
        return self._lease.job

    @property
    def principal(self) -> Principal:
        """The job's owner."""
        return self._principal

    def is_cancelled(self) -> bool:
        """Whether the owner has asked for the job to stop."""
        return self._is_cancelled

    def cancel(self) -> None:
        """Note the owner's wish to stop."""
        self._is_cancelled = True

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[UnitOfWork]:
        """The platform's transaction for the owner; `lease_lost` if another worker has the job."""
        async with self._transactions.begin(self._principal.elevated()) as uow:
            await self._lifecycle.fence(uow, self._lease)
            yield uow

    async def emit(self, kind: str, data: Mapping[str, Any], *, once: str | None = None) -> None:
        """Add a line to the trace. A second line with the same `once` is dropped."""
        async with self.transaction() as uow:
            await self._lifecycle.append(uow, self.job, kind, data, once)

    async def call_tool(
        self, name: str, arguments: Mapping[str, Any], *, key: str
    ) -> dict[str, Any]:
        """Call a tool through the proxy and give its structured result.

        `key` names the call within the job: it is handed to the tool as idempotency key, and a
        resumed run that repeats the call meters it once. Raises the tool's own error, and
        `credits_exhausted` where a run in usage mode has no more for the call.
        """
        async with self.transaction() as uow:
            await self._account.admit(uow, name, key)
            await self._lifecycle.append(uow, self.job, "tool.started", {"tool": name, "key": key})
        try:
            return await self._call(name, arguments, key)
        finally:
            self._account.dismiss(key)

    async def _call(self, name: str, arguments: Mapping[str, Any], key: str) -> dict[str, Any]:
        began = time.perf_counter()
        call = ToolCall(
            self._principal, name, dict(arguments), f"{self.job.job_id}:{key}", self.job.job_id
        )
        try:
            result = await self._proxy.call(call)
            if result.error is not None:
                raise result.error
        except AppError as error:
            data = {"tool": name, "key": key, "error": error.as_dict()}
            await self.emit("tool.failed", data)
            raise
        await self._record(name, key, result, time.perf_counter() - began)
        return result.structured or {}

    async def _record(self, name: str, key: str, result: ToolResult, seconds: float) -> None:
        millis = round(seconds * 1000)
        usage = usage_of(self.job, name, key, result)
        async with self.transaction() as uow:
            await self._account.record(uow, usage)
            told = {**self._account.told(), **isolation_of(name, result.structured)}
            told |= egress_of(name, result.structured)
            data = {"tool": name, "key": key, "duration_ms": millis, **told}
            await self._lifecycle.append(uow, self.job, "tool.finished", data)
