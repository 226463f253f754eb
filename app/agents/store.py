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
    """The ledger of finished roles in the database: of a whole job, or of one of its steps."""

    _path = ""

    def __init__(self, path: str = "") -> None:
        self._path = path

    async def load(self, uow: UnitOfWork, job_id: UUID) -> list[AgentRun]:
        """The job's finished roles in the order in which they ended."""
        mine = (AgentRunRow.job_id == job_id, AgentRunRow.path == self._path)
        query = select(*_COLUMNS).where(*mine).order_by(AgentRunRow.step)
        rows = (await uow.execute(query)).mappings()
        return [AgentRun(**row) for row in rows]

    async def record(self, uow: UnitOfWork, run: AgentRun) -> None:
        """Write a finished role; the first row of a job, role and attempt stands."""
        row = asdict(run) | {"path": self._path}
        await uow.execute(insert(AgentRunRow).values(row).on_conflict_do_nothing())
