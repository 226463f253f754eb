"""What the runner of a node may do while its step is at work; all of it is fenced."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from app.kernel.errors import AppError
from app.kernel.principal import Principal
from app.kernel.uow import Transactions, UnitOfWork
from app.orchestration.metering import usage_of
from app.orchestration.types import JobView
from app.orchestration.workflow.running.account import fenced
from app.orchestration.workflow.running.run import Run
from app.proxy import ToolCall, ToolProxy, ToolResult, egress_of, isolation_of

Emit = Callable[[Run, str, Mapping[str, Any], str | None], "asyncio.Future[None]"]


class StepContext:
    """The `JobContext` of one step. Never emit inside one of its transactions."""

    def __init__(
        self, run: Run, path: str, transactions: Transactions, proxy: ToolProxy, emit: Emit
    ) -> None:
        self._run = run
        self._path = path
        self._transactions = transactions
        self._proxy = proxy
        self._emit = emit

    @property
    def job(self) -> JobView:
        """The job as it was when claimed."""
        return self._run.lease.job

    @property
    def principal(self) -> Principal:
        """The job's owner."""
        return self._run.principal

    def is_cancelled(self) -> bool:
        """Whether the run is over; its steps are cancelled then."""
        return self._run.is_over or self._run.closing is not None

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[UnitOfWork]:
        """The platform's transaction for the owner; `lease_lost` if another worker has the job."""
        async with fenced(self._transactions, self._run.lease, self.principal) as uow:
            yield uow

    async def emit(self, kind: str, data: Mapping[str, Any], *, once: str | None = None) -> None:
        """Add a line to the trace, with the step's path; `once` counts within the step."""
        name = None if once is None else f"step:{self._path}:{once}"
        await self._emit(self._run, kind, {"path": self._path, **data}, name)

    async def call_tool(
        self, name: str, arguments: Mapping[str, Any], *, key: str
    ) -> dict[str, Any]:
        """Call a tool for this step and give its structured result. Raises the tool's error.

        `key` names the call within the step; a repeated call is handed the same key, and metered
        once.
        """
        whole, account = f"step:{self._path}:{key}", self._run.account
        if account is None:
            return await self._call(name, arguments, whole)
        await account.admit(name, whole)
        try:
            return await self._call(name, arguments, whole)
        finally:
            account.dismiss(whole)

    async def _call(self, name: str, arguments: Mapping[str, Any], key: str) -> dict[str, Any]:
        await self.emit("tool.started", {"tool": name, "key": key})
        began, job = time.perf_counter(), self.job
        call = ToolCall(self.principal, name, dict(arguments), f"{job.job_id}:{key}", job.job_id)
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
        usage = usage_of(self.job, name, key, result)
        if self._run.account is None:
            self._run.usages.append(usage)
        else:
            await self._run.account.record(usage)
        millis = round(seconds * 1000)
        told = {**isolation_of(name, result.structured), **egress_of(name, result.structured)}
        await self.emit("tool.finished", {"tool": name, "key": key, "duration_ms": millis, **told})
