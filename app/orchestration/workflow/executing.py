"""Carries out one step: its tries, their time limits and the pauses between them."""

import asyncio
import random
import re
from datetime import datetime, timedelta
from typing import Any

import orjson

from app.kernel.clock import Clock
from app.kernel.errors import AppError, Code
from app.orchestration.types import JobContext
from app.orchestration.workflow.runnable import LONGEST_PAUSE_S
from app.orchestration.workflow.steps import ReadyStep, StepResult, WaitingStep
from app.orchestration.workflow.store import RETRYING, EndedStep

_SANDBOX = "sandbox.run_python"
_STDERR_CHARS = 2000
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
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


class Executor:
    """Carries out the steps of one job."""

    def __init__(self, ctx: JobContext, clock: Clock) -> None:
        self._ctx = ctx
        self._clock = clock

    async def work(self, step: ReadyStep, failures: int) -> EndedStep:
        """A tool or sandbox step to its end; `failures` are its tries before this run.

        Raises only what the platform's own faults raise.
        """
        started, attempt = self._clock.now(), failures + 1
        while True:
            try:
                result = StepResult("Success", await self._call(step, attempt))
                return EndedStep(step.path, result, attempt, started, self._clock.now())
            except AppError as error:
                if error.code in _PLATFORM:
                    raise
                delay = _delay(step, attempt, error)
                if delay is None:
                    failed = StepResult("Failed", None, error.as_dict())
                    return EndedStep(step.path, failed, attempt, started, self._clock.now())
                await self._put_off(step.path, attempt, delay, error)
            attempt += 1

    async def wait(self, step: WaitingStep, due: datetime) -> EndedStep:
        """A wait to its end; one that is too long fails at once."""
        started = self._clock.now()
        seconds = (due - started).total_seconds()
        result = StepResult("Success")
        if seconds > LONGEST_PAUSE_S:
            result = StepResult("Failed", None, _too_long(seconds).as_dict())
        elif seconds > 0:
            await asyncio.sleep(seconds)
        return EndedStep(step.path, result, 1, started, self._clock.now())

    def due(self, step: WaitingStep) -> datetime:
        """When a wait that is seen for the first time ends."""
        if step.until is not None:
            return step.until
        if step.seconds is None:
            raise AppError(Code.INVALID_INPUT, f"Step {step.path}: runs cannot wait for a person.")
        return self._clock.now() + timedelta(seconds=step.seconds)

    async def _call(self, step: ReadyStep, attempt: int) -> dict[str, Any]:
        is_sandbox = step.kind == "sandbox"
        name = _SANDBOX if is_sandbox else step.target
        if name is None or step.kind == "agent":
            raise AppError(Code.INVALID_INPUT, f"Step {step.path}: agents do not run as steps.")
        key = f"step:{step.path}:{attempt}"
        limit = asyncio.timeout(step.timeout_s)
        try:
            async with limit:
                output = await self._ctx.call_tool(name, step.arguments, key=key)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise AppError(
                Code.TOOL_TIMEOUT, f"{name} did not answer within {step.timeout_s:g} s."
            ) from error
        _check_storable(output)
        if is_sandbox and output.get("status") != "ok":
            raise _code_failed(output)
        return output

    async def _put_off(self, path: str, attempt: int, delay: float, error: AppError) -> None:
        data = {"path": path, "attempt": attempt, "delay_s": delay, "error": error.as_dict()}
        await self._ctx.emit(RETRYING, data, once=f"step:{path}:{attempt}:retrying")
        await asyncio.sleep(delay)


def _delay(step: ReadyStep, attempt: int, error: AppError) -> float | None:
    """Seconds until the next try, with a quarter of jitter; None if there is none.

    Whoever refuses for a rate limit says how long; that wait is kept too.
    """
    if step.retry is None:
        return None
    delay = step.retry.delay_after(attempt, error.code.value, is_retryable=error.is_retryable)
    if delay is None:
        return None
    asked = float(error.details.get("retry_after_s", 0))
    return round(min(max(delay * random.uniform(0.75, 1.25), asked), LONGEST_PAUSE_S), 3)


def _check_storable(output: dict[str, Any]) -> None:
    try:
        body = orjson.dumps(output)
    except TypeError as error:
        raise _unfit() from error
    if _NUL.search(body):
        raise _unfit()


def _unfit() -> AppError:
    return AppError(
        Code.TOOL_PROTOCOL_ERROR,
        "The tool's answer has a value that cannot be stored.",
        hint="Texts must not hold the character NUL, numbers must be below 2^64.",
    )


def _code_failed(output: dict[str, Any]) -> AppError:
    details = {name: output.get(name) for name in ("status", "exit_code")}
    details["stderr"] = str(output.get("stderr", ""))[-_STDERR_CHARS:]
    return AppError(
        Code.TOOL_FAILED,
        f"The code ended with status {details['status']}.",
        hint="Its last error output is in details.stderr.",
        details=details,
    )


def _too_long(seconds: float) -> AppError:
    return AppError(
        Code.INVALID_INPUT,
        f"The wait would take {seconds:.0f} s, more than {LONGEST_PAUSE_S:g} s.",
        hint="A run waits only so long at a time; split the workflow in two.",
    )
