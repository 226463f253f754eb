"""The default dispatcher: PostgreSQL's own wake-ups, and a claim of whatever is ready."""

from collections.abc import Sequence
from uuid import UUID

from app.orchestration.dispatch.port import DispatchState


class PostgresDispatcher:
    """Leaves the choice to the claim. Any number of workers may share a queue like this."""

    async def run(self) -> None:
        """There is nothing to do."""

    def take(self, _kind: str, _limit: int) -> Sequence[UUID] | None:
        """Whatever is ready."""
        return None

    def done(self, ids: Sequence[UUID]) -> None:
        """Nobody waits for it."""

    def state(self) -> DispatchState:
        """It stands and falls with the database, which tells of itself."""
        return DispatchState("postgresql", is_up=True)
