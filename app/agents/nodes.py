"""Runs a task template as one step of a workflow.

The step walks through the five roles as a job of its own would: its rows of `agent_runs` carry
the step's path, so a killed worker costs one role at most, and its tool calls and events carry
keys that a second run repeats. Its files are artifacts of the job, named after the step.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from app.agents.service import outcome_of
from app.agents.store import AgentRunStore
from app.agents.template import TaskTemplate
from app.agents.templates import Templates
from app.agents.types import JSON, RunContext, RunState
from app.agents.walk import RunLedger, Walk
from app.kernel.clock import Clock, SystemClock
from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal
from app.kernel.uow import UnitOfWork
from app.orchestration import Artifact
from app.storage import Storage


class AgentStep(Protocol):
    """What is read of a step: where it stands, and the template or the words it names."""

    @property
    def path(self) -> str: ...
    @property
    def target(self) -> str | None: ...


class AgentNodes:
    """A `NodeRunner`: carries out the agent nodes of workflows."""

    def __init__(
        self,
        templates: Templates,
        storage: Storage,
        *,
        clock: Clock | None = None,
        ledger: Callable[[str], RunLedger] = AgentRunStore,
    ) -> None:
        """`ledger` makes the ledger of the step of a path."""
        from app.agents.graph import RoleGraph  # a second to import, and only workers run tasks

        self._templates = templates
        self._storage = storage
        self._clock = clock or SystemClock()
        self._ledger = ledger
        self._graph = RoleGraph()

    async def run(
        self,
        ctx: RunContext,
        node: AgentStep,
        input: Mapping[str, Any],  # noqa: A002 - named by the protocol
        *,
        key: str,
    ) -> JSON:
        """The template's answer, with `files` of the job if it made any.

        Raises `template_unknown`, `conflict` (another version than was priced), the input's
        errors, `check_failed` and the other ends without a result, and what tools and the lease
        raise. `key` is not used: a step tried again goes on behind the roles that have ended.
        """
        template = self._template(ctx, node)
        value = template.validate(input)
        step = _StepContext(ctx, node.path, template, value)
        ledger = self._ledger(node.path)
        walk = Walk(template, step, ledger, self._put, self._clock, template.policies)
        state = await walk.resume(RunState(input=value))
        outcome = outcome_of(await self._graph.run(state, walk.step))
        if not outcome.is_success:
            raise outcome.error or AppError(Code.INTERNAL, "The task ended without a reason.")
        return {**outcome.output, **await self._attach(ctx, node.path, outcome.files)}

    def _template(self, ctx: RunContext, node: AgentStep) -> TaskTemplate:
        if node.target is None:
            raise AppError(
                Code.INVALID_INPUT,
                f"Step {node.path}: there are no agents for free tasks.",
                hint="Name a task template.",
            )
        template = self._templates.get(node.target)
        pins = ctx.job.definition.get("pins", {})
        pinned = pins.get(f"template:{node.target}", template.version)
        if pinned != template.version:
            raise AppError(
                Code.CONFLICT,
                f"The workflow was priced with version {pinned} of {template.name}, "
                f"this server has version {template.version}.",
                hint="Submit the workflow again.",
            )
        return template

    async def _put(self, data: bytes) -> JSON:
        blob = await self._storage.put_bytes(data)
        return {"sha256": blob.sha256, "size": blob.size}

    async def _attach(self, ctx: RunContext, path: str, files: Any) -> JSON:
        """Make the files artifacts of the job; the same names again are the same files."""
        if not files:
            return {}
        async with ctx.transaction() as uow:
            return {"files": [await self._artifact(uow, ctx, path, file) for file in files]}

    async def _artifact(self, uow: UnitOfWork, ctx: RunContext, path: str, file: Artifact) -> JSON:
        stored = await self._storage.attach(
            uow,
            user_id=ctx.job.user_id,
            project_id=ctx.job.project_id,
            job_id=ctx.job.job_id,
            blob=file.blob,
            name=f"{path}.{file.name}",
            media_type=file.media_type,
            kind="artifact",
        )
        return {
            "file_id": str(stored.file_id),
            "name": stored.name,
            "media_type": stored.media_type,
            "size": stored.size,
        }


@dataclass(frozen=True, slots=True)
class _StepFacts:
    """The job as the roles of one step see it."""

    job_id: UUID
    user_id: UUID
    project_id: UUID | None
    definition: Mapping[str, Any]
    start_time: datetime | None


class _StepContext:
    """The job's context for one step: calls and events say which step they are of."""

    def __init__(self, ctx: RunContext, path: str, template: TaskTemplate, value: JSON) -> None:
        job = ctx.job
        body = {"template": template.name, "version": template.version, "input": value}
        self._ctx = ctx
        self._path = path
        self.job = _StepFacts(job.job_id, job.user_id, job.project_id, body, job.start_time)

    @property
    def principal(self) -> Principal:
        """The job's owner."""
        return self._ctx.principal

    async def emit(self, kind: str, data: JSON, *, once: str | None = None) -> None:
        """Add a line to the job's trace."""
        only = None if once is None else f"step:{self._path}:{once}"
        await self._ctx.emit(kind, {**data, "step": self._path}, once=only)

    async def call_tool(self, name: str, arguments: JSON, *, key: str) -> JSON:
        """Call a tool under a key of this step."""
        return await self._ctx.call_tool(name, arguments, key=f"step:{self._path}:{key}")

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[UnitOfWork]:
        """The job's fenced transaction."""
        async with self._ctx.transaction() as uow:
            yield uow

    def is_cancelled(self) -> bool:
        """Whether the owner has asked for the job to stop."""
        return self._ctx.is_cancelled()
