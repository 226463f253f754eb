"""The facade: tests the walls before the first task and refuses where they do not stand.

A refusal is not for ever: what was away is tested again in the background until it stands.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, repeat
from typing import Protocol, runtime_checkable

from app.kernel.errors import AppError, Code
from app.sandbox.layers import read_requirements
from app.sandbox.policy import check_spec
from app.sandbox.probes import self_test
from app.sandbox.types import (
    Capabilities,
    Ended,
    Event,
    Executor,
    IsolationError,
    Limits,
    SandboxStatus,
    TaskResult,
    TaskSpec,
)

logger = logging.getLogger(__name__)

# Before each new test of what did not stand; the last one from then on.
_PAUSES_S = (1.0, 2.0, 5.0, 10.0, 30.0)


class Closing(Protocol):
    """What several executors share."""

    async def close(self) -> None:
        """Give back what it holds."""
        ...


@runtime_checkable
class Warming(Protocol):
    """An executor that can keep workers waiting."""

    async def warm(self) -> None:
        """Begin to, in the background."""
        ...


@dataclass(frozen=True)
class _Chosen:
    executor: Executor
    capabilities: Capabilities
    # Told, so that nobody takes one level for another.
    passed_over: str


class Sandbox:
    """Runs tasks on the first executor whose self-test passes; never on anything weaker."""

    def __init__(
        self,
        executors: Sequence[Executor],
        limits: Limits | None = None,
        belongings: Sequence[Closing] = (),
    ) -> None:
        """`limits` is the ceiling for every task and the default of `new_limits`; `belongings`
        are closed with it.
        """
        self._executors, self._belongings = tuple(executors), tuple(belongings)
        self._limits = limits or Limits()
        self._chosen: _Chosen | None = None
        self._status = SandboxStatus(False, reason="The sandbox has not been started.")
        self._again: asyncio.Task[None] | None = None
        self._is_closed = False

    async def start(self) -> SandboxStatus:
        """Test the executors in order, keep the first that stands, and say how it went.

        The chosen one then makes workers that wait, in the background. Where none stands, all
        are tested again from time to time; one that was chosen is never replaced.
        """
        status = await self._choose()
        if not status.available:
            self._test_again()
        return status

    def status(self) -> SandboxStatus:
        """The verdict of the last self-test; a chosen executor that refuses has another one."""
        return self._status

    def capabilities(self) -> Capabilities:
        """What the chosen executor promises. Raises AppError(SANDBOX_UNAVAILABLE)."""
        return self._ready().capabilities

    def new_limits(self, *, wall_s: float | None = None) -> Limits:
        """The default limits, with the wall time cut to `wall_s` where that is shorter."""
        if wall_s is None:
            return self._limits
        return replace(self._limits, wall_s=min(wall_s, self._limits.wall_s))

    async def run(self, spec: TaskSpec) -> TaskResult:
        """Run one task in a sandbox of its own, or in its session's.

        Raises AppError: SANDBOX_UNAVAILABLE, INVALID_INPUT, SANDBOX_REQUIREMENT_UNKNOWN,
        SANDBOX_SESSION_ENDED, SANDBOX_SESSION_BUSY. What the code itself does wrong is a status
        of the result.
        """
        executor = self._checked(spec)
        try:
            result = await executor.run(spec)
        except IsolationError as error:
            self._test_again()
            raise _unavailable(error.reason, error.hint) from error
        self._compare(result)
        return result

    async def stream(self, spec: TaskSpec) -> AsyncGenerator[Event, None]:
        """As `run`, told as it happens; `Ended` comes last. Leaving it early kills the task."""
        events = self._checked(spec).stream(spec)
        try:
            async for event in events:
                if isinstance(event, Ended):
                    self._compare(event.result)
                yield event
        except IsolationError as error:
            self._test_again()
            raise _unavailable(error.reason, error.hint) from error
        finally:
            # An executor's stream is a generator; the protocol promises no more than iteration.
            if (close := getattr(events, "aclose", None)) is not None:
                await close()

    async def cancel(self, task_id: str) -> None:
        """Kill a running task; an unknown id is ignored."""
        if self._chosen:
            await self._chosen.executor.cancel(task_id)

    async def close(self) -> None:
        """Kill what still runs."""
        self._is_closed = True
        if self._again is not None:
            self._again.cancel()
            await asyncio.wait([self._again])
        self._chosen = None
        self._status = SandboxStatus(False, reason="The sandbox has been closed.")
        await asyncio.gather(*(executor.close() for executor in self._executors))
        await asyncio.gather(*(one.close() for one in self._belongings))

    async def _choose(self) -> SandboxStatus:
        """The verdict on the chosen executor, else on the first of all that stands."""
        before = self._chosen
        refused: list[SandboxStatus] = []
        for executor in self._executors if before is None else (before.executor,):
            verdict, capabilities = await _examine(executor)
            if capabilities is not None:
                told = " ".join(f"{one.executor}: {one.reason}" for one in refused)
                told = told if before is None else before.passed_over
                self._chosen = _Chosen(executor, capabilities, told)
                self._status = replace(verdict, reason=told)
                ready = {"executor": executor.name, "walls": verdict.level, "passed_over": told}
                logger.info("sandbox ready", extra=ready)
                if isinstance(executor, Warming):
                    await executor.warm()
                return self._status
            if before is None:
                await executor.close()
            refused.append(verdict)
        self._status = _refusal(refused)
        logger.warning("sandbox unavailable: %s", self._status.reason)
        return self._status

    def _compare(self, result: TaskResult) -> None:
        """A sandboxd may come back with other walls: who asks is told the present level."""
        if result.level and result.level != self._status.level:
            self._test_again()

    def _test_again(self) -> None:
        """Test in the background until the verdict is good, if nobody is at it.

        What ends with the sandbox, of other walls than a closed one's, is no reason to.
        """
        if not self._is_closed and (self._again is None or self._again.done()):
            self._again = asyncio.create_task(self._until_ready(), name="sandbox-again")

    async def _until_ready(self) -> None:
        for pause_s in chain(_PAUSES_S, repeat(_PAUSES_S[-1])):
            await asyncio.sleep(pause_s)
            try:
                if (await self._choose()).available:
                    return
            except Exception:  # whatever it is, the next test may find it gone
                logger.exception("the sandbox cannot be tested")

    def _checked(self, spec: TaskSpec) -> Executor:
        chosen = self._ready()
        check_spec(spec, self._limits)
        read_requirements(spec.requirements, chosen.capabilities.python)
        return chosen.executor

    def _ready(self) -> _Chosen:
        if self._chosen is None:
            raise _unavailable(self._status.reason, self._status.hint)
        return self._chosen


async def _examine(executor: Executor) -> tuple[SandboxStatus, Capabilities | None]:
    """The verdict, and what a sandbox that stands can do."""
    try:
        capabilities = await executor.capabilities()
        verdict = await self_test(executor)
    except IsolationError as error:
        return SandboxStatus(False, executor.name, error.reason, error.hint), None
    if verdict.available:
        return replace(verdict, level=capabilities.level), capabilities
    return verdict, None


def _refusal(verdicts: Sequence[SandboxStatus]) -> SandboxStatus:
    if not verdicts:
        return SandboxStatus(False, reason="No sandbox executor is configured.")
    reasons = " ".join(dict.fromkeys(verdict.reason for verdict in verdicts))
    hints = " ".join(dict.fromkeys(verdict.hint for verdict in verdicts if verdict.hint))
    return SandboxStatus(False, None, reasons, hints, verdicts[-1].probes)


def _unavailable(reason: str, hint: str) -> AppError:
    return AppError(
        Code.SANDBOX_UNAVAILABLE,
        f"Code cannot be isolated on this machine: {reason}",
        hint=hint or "Start the sandbox first; `uaol doctor` shows its self-test.",
    )
