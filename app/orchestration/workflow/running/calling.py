"""Carries out one try of a step: through the proxy, or by the runner of its kind of node."""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from app.billing import Usage
from app.kernel.clock import Clock
from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal
from app.orchestration.metering import usage_of
from app.orchestration.types import JobContext, JobView
from app.orchestration.workflow.running.account import RunAccount
from app.orchestration.workflow.running.nodes import NodeRunner
from app.orchestration.workflow.running.records import EndedStep, PutOff
from app.orchestration.workflow.steps import ReadyStep, StepResult
from app.proxy import ToolCall, ToolProxy, ToolResult

SANDBOX_TOOL = "sandbox.run_python"
_STDERR_CHARS = 2000
_LONGEST_PAUSE_S = 3600.0
# Faults of the platform are no results of a step: the job itself is tried again.
_PLATFORM = frozenset(
    {
        Code.LEASE_LOST,
        Code.HUB_UNAVAILABLE,
        Code.HUB_DISK_FULL,
        Code.HUB_NOT_WRITABLE,
        Code.HUB_LOCKED,
    }
)


@dataclass(frozen=True, slots=True)
class Try:
    """One try of a step; `started_at` is when its first try in this run began."""

    job: JobView
    principal: Principal
    step: ReadyStep
    attempt: int
    started_at: datetime
    context: JobContext | None = None
    account: RunAccount | None = None

    @property
    def key(self) -> str:
        """Names the try within its job, the same after a crash."""
        return f"step:{self.step.path}:{self.attempt}"


class Caller:
    """Makes tries of steps of any job."""

    def __init__(self, proxy: ToolProxy, clock: Clock, runners: Mapping[str, NodeRunner]) -> None:
        self._proxy = proxy
        self._clock = clock
        self._runners = runners

    async def make(self, one: Try) -> EndedStep | PutOff:
        """Make a try to its end. Raises the platform's own faults, which are no result."""
        try:
            output, usage = await self._within(one)
            body = _json_of(output)
            if one.step.kind == "sandbox" and output.get("status") != "ok":
                raise _code_failed(output)
        except AppError as error:
            if error.code in _PLATFORM:
                raise
            return _put_off(one, error) or self._ended(one, _failed(error))
        ended = self._ended(one, StepResult("Success", output))
        ended.body, ended.usage = body, usage
        return ended

    def _ended(self, one: Try, result: StepResult) -> EndedStep:
        return EndedStep(one.step.path, result, one.attempt, one.started_at, self._clock.now())

    async def _within(self, one: Try) -> tuple[Any, Usage | None]:
        seconds = one.step.timeout_s
        if seconds is None:
            return await self._carry(one)
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                return await self._carry(one)
        except TimeoutError as error:
            if not limit.expired():
                raise
            name = one.step.target or one.step.kind
            raise AppError(
                Code.TOOL_TIMEOUT, f"{name} did not answer within {seconds:g} s."
            ) from error

    async def _carry(self, one: Try) -> tuple[Any, Usage | None]:
        step = one.step
        if step.kind == "agent":
            return await self._delegate(one), None
        name = SANDBOX_TOOL if step.kind == "sandbox" else str(step.target)
        job_id = one.job.job_id
        call = ToolCall(one.principal, name, step.arguments, f"{job_id}:{one.key}", job_id)
        if one.account is None:
            result = await self._call(call)
            return _output_of(result), usage_of(one.job, name, one.key, result)
        await one.account.admit(name, one.key)
        try:
            result = await self._call(call)
            await one.account.record(usage_of(one.job, name, one.key, result))
        finally:
            one.account.dismiss(one.key)
        return _output_of(result), None

    async def _call(self, call: ToolCall) -> ToolResult:
        result = await self._proxy.call(call)
        if result.error is not None:
            raise result.error
        return result

    async def _delegate(self, one: Try) -> Any:
        runner = self._runners.get(one.step.kind)
        if runner is None or one.context is None:
            raise AppError(Code.INVALID_INPUT, f"Step {one.step.path}: this worker runs no agents.")
        return await runner.run(one.context, one.step, one.step.arguments, key=one.key)


def _output_of(result: ToolResult) -> dict[str, Any]:
    structured = result.structured
    return {"content": result.content} if structured is None else structured


def _failed(error: AppError) -> StepResult:
    return StepResult("Failed", None, error.as_dict())


def _put_off(one: Try, error: AppError) -> PutOff | None:
    """When the next try comes, with a quarter of jitter; None if there is none.

    A call that was not let in for a rate limit has not failed: it waits as long as it is told.
    """
    asked = float(error.details.get("retry_after_s", 0))
    if error.code is Code.RATE_LIMITED:
        delay = min(max(asked, 0.01), _LONGEST_PAUSE_S)
        return PutOff(one.step.path, one.attempt, delay, error.as_dict(), counts=False)
    if one.step.retry is None:
        return None
    delay_s = one.step.retry.delay_after(
        one.attempt, error.code.value, is_retryable=error.is_retryable
    )
    if delay_s is None:
        return None
    delay_s = round(min(max(delay_s * random.uniform(0.75, 1.25), asked), _LONGEST_PAUSE_S), 3)
    return PutOff(one.step.path, one.attempt, delay_s, error.as_dict())


def _json_of(output: Any) -> bytes:
    try:
        body = orjson.dumps(output)
    except TypeError as error:
        raise _unfit() from error
    # An escaped backslash before it makes it text that only looks like the character.
    if b"\\u0000" in body and b"\\u0000" in body.replace(b"\\\\", b""):
        raise _unfit()
    return body


def _unfit() -> AppError:
    return AppError(
        Code.TOOL_PROTOCOL_ERROR,
        "The tool's answer has a value that cannot be stored.",
        hint="Texts must not hold the character NUL, numbers must be below 2^64.",
    )


def _code_failed(output: Mapping[str, Any]) -> AppError:
    details = {name: output.get(name) for name in ("status", "exit_code")}
    details["stderr"] = str(output.get("stderr", ""))[-_STDERR_CHARS:]
    return AppError(
        Code.TOOL_FAILED,
        f"The code ended with status {details['status']}.",
        hint="Its last error output is in details.stderr.",
        details=details,
    )
