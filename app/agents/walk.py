"""One walk of one job through the roles: each role's work, its row, its events.

The order is the promise: work, then row, then events. A worker that dies after the row finds it
again and tells the events once more; one that dies before it does that role's work once more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, cast
from uuid import UUID

from app.agents.roles import DRIVERS, StoreFile, Work
from app.agents.routing import attempt_of, merge, next_role, reason_for
from app.agents.template import TaskTemplate
from app.agents.types import JSON, AgentRun, Role, RoleContext, RunContext, RunState
from app.kernel.clock import Clock
from app.kernel.errors import AppError, Code
from app.kernel.ids import new_id
from app.kernel.uow import UnitOfWork


class RunLedger(Protocol):
    """Where finished roles are kept. Recording the same job, role and attempt again is dropped."""

    async def load(self, uow: UnitOfWork, job_id: UUID) -> list[AgentRun]: ...
    async def record(self, uow: UnitOfWork, run: AgentRun) -> None: ...


@dataclass(slots=True)
class Walk:
    """A job's walk. `policies` are the coder's, one per attempt, the last one repeated."""

    template: TaskTemplate
    ctx: RunContext
    ledger: RunLedger
    store: StoreFile
    clock: Clock
    policies: Sequence[str]
    steps: int = 0

    async def resume(self, state: RunState) -> RunState:
        """The state after the roles that have ended already."""
        async with self.ctx.transaction() as uow:
            runs = await self.ledger.load(uow, self.ctx.job.job_id)
        for run in runs:
            state = merge(state, cast(RunState, run.output))
        self.steps = len(runs)
        if runs:
            # The worker may have died between the row and its events.
            await self._announce(runs[-1], state)
        return state

    async def step(self, role: Role, state: RunState) -> RunState:
        """Do a role's work, write its row, tell the trace; returns the role's update."""
        if self.ctx.is_cancelled():
            raise AppError(Code.JOB_CANCELLED, "The job was cancelled.")
        attempt = attempt_of(role, state)
        await self._emit(role, attempt, "agent.started", {})
        started, began = self.clock.now(), self.clock.monotonic()
        policy = self.policies[min(attempt, len(self.policies)) - 1]
        context = RoleContext(self.ctx, role, attempt, policy, self.clock)
        work = await DRIVERS[role](self.template, context, state, self.store)
        millis = round((self.clock.monotonic() - began) * 1000)
        update = merge(work.update, RunState(last=role))
        run = self._row(context, work, update, started, millis)
        async with self.ctx.transaction() as uow:
            await self.ledger.record(uow, run)
        self.steps += 1
        await self._announce(run, merge(state, update))
        return update

    def _row(
        self, made_by: RoleContext, work: Work, update: RunState, started: datetime, millis: int
    ) -> AgentRun:
        job = self.ctx.job
        return AgentRun(
            run_id=new_id(),
            job_id=job.job_id,
            user_id=job.user_id,
            project_id=job.project_id,
            step=self.steps,
            role=made_by.role,
            attempt=made_by.attempt,
            status=work.status,
            summary=work.summary,
            started_at=started,
            duration_ms=millis,
            output=cast(JSON, update),
        )

    async def _announce(self, run: AgentRun, state: RunState) -> None:
        """The role's end and the hand-off that follows from it; repeating this changes nothing."""
        data = {"summary": run.summary, "status": run.status, "duration_ms": run.duration_ms}
        await self._emit(run.role, run.attempt, "agent.finished", data)
        onward = next_role(state)
        if onward is not None:
            handoff = {"from": run.role, "to": onward, "reason": reason_for(onward, state)}
            once = f"{run.role}:{run.attempt}:agent.handoff"
            await self.ctx.emit("agent.handoff", handoff, once=once)

    async def _emit(self, role: Role, attempt: int, kind: str, data: JSON) -> None:
        whole = {"role": role, "attempt": attempt, **data}
        await self.ctx.emit(kind, whole, once=f"{role}:{attempt}:{kind}")
