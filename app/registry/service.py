"""The registry's facade: pins what servers offer, approves, and gives the snapshot calls read."""

from collections.abc import Collection, Sequence

from app.kernel import audit
from app.kernel.errors import AppError, Code
from app.kernel.uow import UnitOfWork
from app.registry import store
from app.registry.snapshot import Snapshot
from app.registry.types import (
    DEFAULT_TIMEOUT_S,
    PinReport,
    ServerConfig,
    Status,
    ToolDefinition,
)


class Registry:
    """Tools and their approved definitions.

    What a server offers at first sight counts as approved, since the operator configured it.
    Later changes of a server that is not trusted, new tools included, wait for approval.
    """

    def __init__(self, *, default_timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        self._default_timeout_s = default_timeout_s
        self._snapshot = Snapshot()
        self._reads = 0
        self._shown = 0

    def snapshot(self) -> Snapshot:
        """The tools as of the last `refresh`."""
        return self._snapshot

    async def refresh(self, uow: UnitOfWork) -> None:
        """Read the tools; the snapshot changes when the unit of work commits."""
        self._reads += 1
        read, fresh = self._reads, Snapshot(await store.tools(uow))

        def show() -> None:
            # Of two refreshes at once, the one that began later wins.
            if read > self._shown:
                self._snapshot, self._shown = fresh, read

        uow.after_commit(show)

    async def pin(
        self, uow: UnitOfWork, server: ServerConfig, definitions: Sequence[ToolDefinition]
    ) -> PinReport:
        """Record what the server offers now; needs a unit of work of the platform.

        A tool whose definition differs from the approved one is Pending, and calls to it refuse,
        until `approve`; a trusted server's change is accepted and written to the audit log.
        """
        await store.lock(uow)
        known = await store.rows_of(uow, server.name)
        is_first, added, changed = not known, [], []
        for definition in definitions:
            row = known.pop(definition.full_name, None)
            if row is None:
                await self._add(uow, server, definition, is_first=is_first)
                added.append(definition.full_name)
            elif await self._update(uow, server, definition, row):
                changed.append(definition.full_name)
        removed = await store.unlist(uow, known)
        return PinReport(tuple(added), tuple(changed), removed)

    async def retire(self, uow: UnitOfWork, keep: Collection[str]) -> tuple[str, ...]:
        """Unlist the tools of servers that are configured no more; return their names."""
        await store.lock(uow)
        return await store.unlist_except(uow, keep)

    async def approve(self, uow: UnitOfWork, full_name: str) -> None:
        """Approve the definition the server gave last; needs a unit of work of the platform."""
        row = await self._row(uow, full_name)
        await store.approve_version(uow, row.tool_id, row.latest_version)
        await self._set(uow, row, "Approved", approved=row.latest_version)

    async def disable(self, uow: UnitOfWork, full_name: str) -> None:
        """Switch a tool off until it is approved again."""
        row = await self._row(uow, full_name)
        await self._set(uow, row, "Disabled", approved=row.approved_version)

    async def _row(self, uow: UnitOfWork, full_name: str) -> store.ToolRow:
        await store.lock(uow)
        row = await store.row_of(uow, full_name)
        if row is None:
            raise AppError(
                Code.TOOL_UNKNOWN,
                f"There is no tool named {full_name[:128]!r}.",
                hint="List the tools to see the names.",
            )
        return row

    async def _set(
        self, uow: UnitOfWork, row: store.ToolRow, status: Status, *, approved: int | None
    ) -> None:
        await store.set_state(
            uow, row.tool_id, status=status, latest=row.latest_version, approved=approved
        )
        details = {"status": status, "version": row.latest_version, "sha256": row.sha256}
        await audit.record(uow, f"registry.tool_{status.lower()}", f"tool:{row.name}", details)

    async def _add(
        self, uow: UnitOfWork, server: ServerConfig, definition: ToolDefinition, *, is_first: bool
    ) -> None:
        await store.add(
            uow,
            server,
            definition,
            timeout_s=self._timeout(server),
            is_approved=is_first or server.is_trusted,
        )

    async def _update(
        self, uow: UnitOfWork, server: ServerConfig, definition: ToolDefinition, row: store.ToolRow
    ) -> bool:
        """Bring a known tool up to date; return whether its definition changed."""
        await store.touch(uow, row.tool_id, server, definition, self._timeout(server))
        if row.sha256 == definition.sha256:
            return False
        version, is_approved = await store.add_version(
            uow, row.tool_id, definition, is_approved=server.is_trusted
        )
        status: Status = "Approved" if is_approved else "Pending"
        await store.set_state(
            uow,
            row.tool_id,
            # What an operator switched off stays off, whatever the server says.
            status="Disabled" if row.status == "Disabled" else status,
            latest=version,
            approved=version if is_approved else row.approved_version,
        )
        details = {"from": row.sha256, "to": definition.sha256, "accepted": is_approved}
        await audit.record(uow, "registry.tool_changed", f"tool:{row.name}", details)
        return True

    def _timeout(self, server: ServerConfig) -> float:
        return server.timeout_s if server.timeout_s is not None else self._default_timeout_s
