"""The words the agents share: roles, the state they pass on, and what a task template supplies.

The state is JSON only, so that a row of `agent_runs` can hold any part of it and a later version
of the code can still read it.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple, Protocol, TypedDict
from uuid import UUID

from app.kernel.clock import Clock
from app.kernel.principal import Principal
from app.kernel.uow import UnitOfWork

JSON = dict[str, Any]
Role = Literal["planner", "retriever", "coder", "evaluator", "reporter"]
RunStatus = Literal["Success", "Refused", "Failed"]
CheckStatus = Literal["passed", "failed", "not_run"]
ROLES: tuple[Role, ...] = ("planner", "retriever", "coder", "evaluator", "reporter")
MAX_ATTEMPTS = 3


class RunState(TypedDict, total=False):
    """What the roles hand to each other. A role's update replaces whole keys, never parts.

    `attempt` counts the coder's tries from 1; `last` is the role that ended last;
    `refusals` holds one entry per refusal of the evaluator, oldest first.
    """

    input: JSON
    plan: JSON
    material: JSON
    draft: JSON
    impossible: JSON | None
    checks: list[JSON]
    verdict: Literal["passed", "refused"] | None
    refusals: list[JSON]
    report: JSON
    attempt: int
    last: Role


@dataclass(frozen=True, slots=True)
class AgentRun:
    """One finished role: a row of `agent_runs`. `step` counts the job's finished roles from 0."""

    run_id: UUID
    job_id: UUID
    user_id: UUID
    project_id: UUID | None
    step: int
    role: Role
    attempt: int
    status: RunStatus
    summary: str
    started_at: datetime
    duration_ms: int
    output: JSON
    prompt_tokens: int = 0
    completion_tokens: int = 0


class JobFacts(Protocol):
    """What the agents read of a job."""

    @property
    def job_id(self) -> UUID: ...
    @property
    def user_id(self) -> UUID: ...
    @property
    def project_id(self) -> UUID | None: ...
    @property
    def definition(self) -> Mapping[str, Any]: ...
    @property
    def start_time(self) -> datetime | None: ...


class RunContext(Protocol):
    """The part of a job's context that agents use; `JobContext` is one."""

    @property
    def job(self) -> JobFacts: ...
    @property
    def principal(self) -> Principal: ...
    async def emit(self, kind: str, data: JSON, *, once: str | None = None) -> None: ...
    async def call_tool(self, name: str, arguments: JSON, *, key: str) -> JSON: ...
    def transaction(self) -> AbstractAsyncContextManager[UnitOfWork]: ...
    def is_cancelled(self) -> bool: ...


class Check(NamedTuple):
    """One check of the evaluator. `guilty` names the parts of the draft to leave out next time."""

    name: str
    status: CheckStatus
    statement: str
    figures: JSON
    reason: str | None = None
    guilty: Sequence[str] = ()


class Refusal(NamedTuple):
    """Why a try was refused, and what the next one must leave out."""

    attempt: int
    reasons: list[str]
    exclude: list[str]


class Plan(NamedTuple):
    """What will be done: sentences for the trace, facts for the roles that follow."""

    summary: str
    steps: list[str]
    facts: JSON


class Material(NamedTuple):
    """What was gathered before the work begins."""

    summary: str
    facts: JSON


class Draft(NamedTuple):
    """A result to be checked. `impossible` {code, message, hint} says why none can be had."""

    summary: str
    result: JSON
    impossible: JSON | None = None


class RenderedFile(NamedTuple):
    """A file of the report, as bytes."""

    name: str
    media_type: str
    data: bytes


class Report(NamedTuple):
    """The files of a task that passed, and its short answer (`output`)."""

    summary: str
    output: JSON
    files: Sequence[RenderedFile]


@dataclass(slots=True)
class RoleContext:
    """One role at one attempt: its calls and events carry keys that a second run repeats."""

    run: RunContext
    role: Role
    attempt: int
    policy: str
    clock: Clock
    _counts: Counter[str] = field(default_factory=Counter)

    async def call(self, tool: str, arguments: JSON) -> JSON:
        """Call a tool; its n-th call here has the key `role:attempt:tool:n`, n from 1."""
        return await self.run.call_tool(tool, arguments, key=self._key(tool))

    async def emit(self, kind: str, data: JSON) -> None:
        """Add an event to the trace, once even if this role runs twice."""
        await self.run.emit(kind, data, once=self._key(kind))

    async def progress(self, done: int, total: int, message: str) -> None:
        """Say how far the role has come."""
        await self.emit("progress", {"done": done, "total": total, "message": message})

    def _key(self, name: str) -> str:
        self._counts[name] += 1
        return f"{self.role}:{self.attempt}:{name}:{self._counts[name]}"


PlanStep = Callable[[RoleContext, JSON], Awaitable[Plan]]
RetrieveStep = Callable[[RoleContext, RunState], Awaitable[Material]]
ComputeStep = Callable[[RoleContext, RunState, Sequence[Refusal]], Awaitable[Draft]]
EvaluateStep = Callable[[RoleContext, RunState], Awaitable[list[Check]]]
ReportStep = Callable[[RoleContext, RunState], Awaitable[Report]]
