"""The registry's facade: pins what servers offer, approves, and gives the snapshot calls read."""

from collections.abc import Callable, Collection, Mapping, Sequence

from app.kernel import audit, outbox
from app.kernel.errors import AppError, Code
from app.kernel.uow import UnitOfWork
from app.registry import store
from app.registry.findings import Scan, no_scan, refuse_findings, scanned
from app.registry.pins import TOOL_QUARANTINED, Pins
from app.registry.servers import (
    APPROVED,
    DISABLED,
    SENT_BACK,
    Comparisons,
    Decisions,
    Reader,
    RegisteredServer,
    Servers,
)
from app.registry.servers import store as server_store
from app.registry.snapshot import Lookups, Snapshot
from app.registry.types import (
    DEFAULT_TIMEOUT_S,
    PinReport,
    ServerConfig,
    Status,
    ToolDefinition,
)

TOPIC = "registry"
"""Woken after every commit that changes what the snapshot shows."""
NOTICES = (APPROVED, DISABLED, SENT_BACK, TOOL_QUARANTINED)
"""The facts that developers are told."""


class Registry:
    """Tools and their approved definitions.

    What a configured server offers at first sight counts as approved, since the operator
    configured it; a registered one is approved version by version (`servers`, `decisions`).
    Later changes of a server that is not trusted, new tools included, wait for approval.
    """

    def __init__(
        self,
        *,
        default_timeout_s: float = DEFAULT_TIMEOUT_S,
        reader: Reader | None = None,
        scan: Scan = no_scan,
        wake: Callable[[], None] | None = None,
    ) -> None:
        self._pins = Pins(default_timeout_s)
        self._scan = scan
        self._wake = wake
        self.servers = Servers(self._pins, reader or Reader(), scan, self._changed)
        self.decisions = Decisions(self.servers, self._pins, scan, self._changed)
        self.comparisons = Comparisons(self.servers)
        self.lookups = Lookups()
        self._snapshot = Snapshot(lookups=self.lookups)
        self._fingerprint: object = None
        self._reads = 0
        self._shown = 0

    def snapshot(self) -> Snapshot:
        """The tools as of the last `refresh`; another object only when something has changed."""
        return self._snapshot

    def server(self, slug: str) -> RegisteredServer:
        """A registered server that is Approved, from memory; `not_found` otherwise."""
        found = self._snapshot.server(slug)
        if found is None or found.status != "Approved":
            raise AppError(
                Code.NOT_FOUND,
                f"There is no server named {slug[:64]!r}.",
                hint="List the tools: a name begins with its server's.",
            )
        return found

    async def refresh(self, uow: UnitOfWork) -> None:
        """Read the tools and servers; the snapshot changes when the unit of work commits."""
        self._reads += 1
        self.lookups.reads += 1
        read, mark = self._reads, await store.fingerprint(uow)
        fresh = Snapshot(
            await store.tools(uow),
            servers=await server_store.registered(uow),
            published=await server_store.published(uow),
            lookups=self.lookups,
        )

        def show() -> None:
            # Of two refreshes at once, the one that began later wins.
            if read > self._shown:
                self._snapshot, self._shown, self._fingerprint = fresh, read, mark

        uow.after_commit(show)

    async def follow(self, uow: UnitOfWork) -> None:
        """Read the tools and servers if any of them has changed since the last time."""
        if await store.fingerprint(uow) != self._fingerprint:
            await self.refresh(uow)

    def _changed(self, uow: UnitOfWork) -> None:
        """Wake every process's registry once this is committed."""
        if self._wake is not None:
            uow.after_commit(self._wake)

    async def current(self, uow: UnitOfWork, server: ServerConfig) -> ServerConfig:
        """A server on its present terms, which a registered one's developer may have changed."""
        if not server.is_guarded:
            return server
        found = await server_store.one_registered(uow, server.name)
        return server if found is None else found.config()

    async def pin(
        self, uow: UnitOfWork, server: ServerConfig, definitions: Sequence[ToolDefinition]
    ) -> PinReport:
        """Record what the server offers now; needs a unit of work of the platform.

        A tool whose definition differs from the approved one is Pending, and calls to it refuse,
        until `approve`; a trusted server's change is accepted and written to the audit log.
        """
        await store.lock(uow)
        if server.is_guarded:
            found = await server_store.one_registered(uow, server.name)
            # A connection may outlive the approval or the address it was opened for.
            if found is None or found.status != "Approved" or not _is_listed_by(found, server):
                return PinReport()
            server = found.config()
        report = await self._pins.pin(uow, server, definitions)
        if report != PinReport():
            self._changed(uow)
        return report

    async def retire(self, uow: UnitOfWork, keep: Collection[str]) -> tuple[str, ...]:
        """Unlist the tools of servers that are configured no more; return their names."""
        await store.lock(uow)
        return await store.unlist_except(uow, keep)

    async def approve(self, uow: UnitOfWork, full_name: str) -> None:
        """Approve the definition the server gave last; needs a unit of work of the platform.

        Raises `tool_definition_refused` where the scan finds something.
        """
        row = await self._row(uow, full_name)
        latest = await store.latest_definitions(uow, tool=full_name)
        definitions = [
            ToolDefinition.from_dict(full_name.split(".", maxsplit=1)[0], each) for each in latest
        ]
        refuse_findings(scanned(self._scan, definitions), full_name)
        await store.approve_version(uow, row.tool_id, row.latest_version)
        await self._set(uow, row, "Approved", approved=row.latest_version)

    async def disable(self, uow: UnitOfWork, full_name: str) -> None:
        """Switch a tool off until it is approved again."""
        row = await self._row(uow, full_name)
        await self._set(uow, row, "Disabled", approved=row.approved_version)

    async def states(self, uow: UnitOfWork, server: str) -> Sequence[store.ToolState]:
        """Where the tools of a server stand, those that wait too."""
        return await store.states_of(uow, server)

    def reactions(self) -> Mapping[str, outbox.Handler]:
        """Writes the facts about servers down for their developers."""

        def tell(kind: str) -> outbox.Handler:
            return lambda uow, payload: self.servers.tell(uow, payload, kind)

        return {kind: tell(kind) for kind in NOTICES}

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
        self._changed(uow)


def _is_listed_by(found: RegisteredServer, server: ServerConfig) -> bool:
    """Whether a connection made for `server` lists what the registered one offers."""
    return (found.gateway_url, found.secret_arguments) == (server.url, server.secret_arguments)
