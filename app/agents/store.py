"""Reads and writes `agent_runs`. Callers hold the fenced, elevated transaction of their job."""

from dataclasses import asdict, fields
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from app.agents.tables import AgentRunRow
from app.agents.types import AgentRun
from app.kernel.uow import UnitOfWork

_COLUMNS = [getattr(AgentRunRow, item.name) for item in fields(AgentRun)]


class AgentRunStore:
    """The ledger of finished roles in the database."""

    async def load(self, uow: UnitOfWork, job_id: UUID) -> list[AgentRun]:
        """The job's finished roles in the order in which they ended."""
        query = select(*_COLUMNS).where(AgentRunRow.job_id == job_id).order_by(AgentRunRow.step)
        rows = (await uow.execute(query)).mappings()
        return [AgentRun(**row) for row in rows]

    async def record(self, uow: UnitOfWork, run: AgentRun) -> None:
        """Write a finished role; the first row of a job, role and attempt stands."""
        await uow.execute(insert(AgentRunRow).values(asdict(run)).on_conflict_do_nothing())
