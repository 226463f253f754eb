"""The circuit breaker: its states as a machine, and the breakers of a process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from app.kernel.errors import AppError, Code
from app.proxy import BuiltinTool, RawResult, ToolCall
from app.proxy.breaker import (
    FAILURES,
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    TRIAL_S,
    Breakers,
    Circuit,
    admit,
    failed,
    succeeded,
)
from app.registry import ToolDefinition
from tests.manual_clock import ManualClock
from tests.proxy.harness import World, running

DOWN = AppError(Code.TOOL_SERVER_DOWN, "It is down.")
CHANGED = AppError(Code.TOOL_DEFINITION_CHANGED, "It changed.")


class Machine(RuleBasedStateMachine):
    """Calls that come, end well or badly, and time that passes, against a plain model."""

    def __init__(self) -> None:
        super().__init__()
        self.circuit, self.now = Circuit(), 0.0
        self.in_a_row = self.opened = 0
        self.trial_from: float | None = None

    @rule(seconds=st.floats(0, 100))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def call(self) -> None:
        was = self.circuit
        admitted = admit(was, self.now)
        if was.state == "closed":
            assert admitted == was
        elif self.now < was.until:
            assert admitted is None
        else:
            assert admitted is not None
            assert admitted.state == "half-open"
            # Nobody else gets through while the trial is under way.
            assert admit(admitted, self.now) is None
            assert admit(admitted, self.now + TRIAL_S) is not None
        self.circuit = admitted or was

    @rule()
    def fail(self) -> None:
        was, self.circuit = self.circuit, failed(self.circuit, self.now)
        if was.state != "open":
            self.in_a_row += 1
        if was.state == "open":
            assert self.circuit == was
        elif was.state == "half-open" or self.in_a_row >= FAILURES:
            assert self.circuit.state == "open"
            assert self.circuit.pause_s >= was.pause_s

    @rule()
    def succeed(self) -> None:
        self.circuit, self.in_a_row = succeeded(self.circuit), 0

    @invariant()
    def opens_after_enough_failures_in_a_row(self) -> None:
        assert (self.circuit.state == "closed") == (self.in_a_row < FAILURES)

    @invariant()
    def pauses_are_bounded(self) -> None:
        assert 0 <= self.circuit.pause_s <= LONGEST_PAUSE_S
        if self.circuit.state == "open":
            assert self.circuit.pause_s >= FIRST_PAUSE_S
            assert self.circuit.until <= self.now + LONGEST_PAUSE_S


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestMachine = Machine.TestCase


def broken() -> tuple[Breakers, ManualClock]:
    clock = ManualClock()
    breakers = Breakers(clock)
    for _ in range(FAILURES):
        breakers.admit("lab")
        breakers.record("lab", DOWN)
    return breakers, clock


def test_a_server_is_left_alone_and_tried_again() -> None:
    breakers, clock = broken()
    assert breakers.state("lab") == "open"
    with pytest.raises(AppError) as caught:
        breakers.admit("lab")
    assert caught.value.code is Code.TOOL_SERVER_DOWN
    assert caught.value.details["retry_after_s"] == FIRST_PAUSE_S
    breakers.admit("other")
    clock.advance(FIRST_PAUSE_S)
    breakers.admit("lab")
    assert breakers.state("lab") == "half-open"
    breakers.record("lab", None)
    assert breakers.state("lab") == "closed"


def test_an_outcome_that_says_nothing_frees_the_trial() -> None:
    breakers, clock = broken()
    clock.advance(FIRST_PAUSE_S)
    breakers.admit("lab")
    breakers.record("lab", CHANGED)
    breakers.admit("lab")
    breakers.record("lab", DOWN)
    assert breakers.state("lab") == "open"


def test_refusals_of_tools_are_no_failures() -> None:
    breakers = Breakers(ManualClock())
    for _ in range(3 * FAILURES):
        breakers.record("lab", CHANGED)
    assert breakers.state("lab") == "closed"


class Server:
    """A built-in server that fails, waits or answers as it is told to."""

    def __init__(self) -> None:
        self.does: str = "fail"
        self.calls = 0
        self.came = asyncio.Event()

    async def __call__(self, _call: ToolCall, _arguments: dict[str, Any]) -> RawResult:
        self.calls += 1
        self.came.set()
        if self.does == "fail":
            raise DOWN
        if self.does == "wait":
            await asyncio.Event().wait()
        return RawResult({})


@asynccontextmanager
async def failing(clock: ManualClock) -> AsyncIterator[tuple[World, Server]]:
    """A world whose one server has failed often enough to be left alone."""
    tool = BuiltinTool(ToolDefinition("own", "run", "", {}), server := Server())
    async with running(builtins=[tool], clock=clock) as world:
        for _ in range(FAILURES):
            assert (await world.refused("own.run")).message == DOWN.message
        yield world, server


@pytest.mark.anyio
async def test_calls_to_a_server_that_is_left_alone_are_not_sent() -> None:
    async with failing(clock := ManualClock()) as (world, server):
        refused = await world.refused("own.run")
        assert refused.code is Code.TOOL_SERVER_DOWN
        assert refused.details["retry_after_s"] == FIRST_PAUSE_S
        assert server.calls == FAILURES
        clock.advance(FIRST_PAUSE_S)
        server.does = "answer"
        for _ in range(2):
            assert (await world.call("own.run")).structured == {}


@pytest.mark.anyio
async def test_a_caller_who_leaves_gives_the_trial_to_the_next() -> None:
    async with failing(clock := ManualClock()) as (world, server):
        clock.advance(FIRST_PAUSE_S)
        server.does = "wait"
        server.came.clear()
        trial = asyncio.create_task(world.call("own.run"))
        await server.came.wait()
        trial.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trial
        server.does = "answer"
        assert (await world.call("own.run")).structured == {}
