"""Pins what servers offer to what was approved; what differs waits, and its developer is told."""

from collections.abc import Sequence
from typing import Any

from app.kernel import audit, outbox
from app.kernel.uow import UnitOfWork
from app.registry import store
from app.registry.store import ToolRow
from app.registry.types import PinReport, ServerConfig, Status, ToolDefinition

TOOL_QUARANTINED = "registry.tool_quarantined"


class Pins:
    """The definitions of every tool, append-only, and which of them is approved."""

    def __init__(self, default_timeout_s: float) -> None:
        self._default_timeout_s = default_timeout_s

    async def pin(
        self, uow: UnitOfWork, server: ServerConfig, definitions: Sequence[ToolDefinition]
    ) -> PinReport:
        """Record what the server offers now; the caller holds the registry's lock.

        A server that is guarded was registered: what it offers was approved with its version,
        and nothing counts as approved at first sight.
        """
        known = await store.rows_of(uow, server.name)
        is_first, added, changed = not known and not server.is_guarded, [], []
        for definition in definitions:
            row = known.pop(definition.full_name, None)
            if row is None:
                is_approved = is_first or server.is_trusted
                await self._add(uow, server, definition, is_approved=is_approved)
                added.append(definition.full_name)
            elif await self._update(uow, server, definition, row):
                changed.append(definition.full_name)
        removed = await store.unlist(uow, known)
        return PinReport(tuple(added), tuple(changed), removed)

    async def accept(
        self, uow: UnitOfWork, server: ServerConfig, definitions: Sequence[ToolDefinition]
    ) -> None:
        """Make exactly these the approved definitions; the caller holds the registry's lock.

        What an operator switched off by itself stays off.
        """
        known = await store.rows_of(uow, server.name)
        for definition in definitions:
            row = known.pop(definition.full_name, None)
            if row is None:
                await self._add(uow, server, definition, is_approved=True)
                continue
            await self._touch(uow, server, definition, row)
            version, _ = await store.add_version(uow, row.tool_id, definition, is_approved=True)
            await store.set_state(
                uow,
                row.tool_id,
                status="Disabled" if row.status == "Disabled" else "Approved",
                latest=version,
                approved=version,
            )
        await store.unlist(uow, known)

    async def reprice(self, uow: UnitOfWork, server: ServerConfig) -> list[tuple[str, int]]:
        """Give the server's tools its present terms; returns their full names and prices."""
        rows = await store.rows_of(uow, server.name)
        found = []
        for name, row in rows.items():
            tool = name.removeprefix(f"{server.name}.")
            await store.set_terms(uow, row.tool_id, self._terms(server, tool))
            found.append((name, server.prices.of(tool)))
        return found

    def _terms(self, server: ServerConfig, tool: str) -> store.Terms:
        own = server.timeout_s if server.timeout_s is not None else self._default_timeout_s
        return store.Terms(
            price_micro=server.prices.of(tool),
            timeout_s=server.tool_timeouts.get(tool, own),
            calls_per_minute=server.tool_rates.get(tool),
        )

    async def _touch(
        self, uow: UnitOfWork, server: ServerConfig, definition: ToolDefinition, row: ToolRow
    ) -> None:
        terms = self._terms(server, definition.name)
        await store.touch(uow, row.tool_id, server.gateway_url, terms)

    async def _add(
        self,
        uow: UnitOfWork,
        server: ServerConfig,
        definition: ToolDefinition,
        *,
        is_approved: bool,
    ) -> None:
        terms = self._terms(server, definition.name)
        await store.add(uow, server, definition, terms, is_approved=is_approved)
        if server.is_guarded and not is_approved:
            await self._quarantined(uow, server, definition, "added", None)

    async def _update(
        self, uow: UnitOfWork, server: ServerConfig, definition: ToolDefinition, row: ToolRow
    ) -> bool:
        """Bring a known tool up to date; return whether its definition changed."""
        # The terms of a registered server's tools follow its offer, not its listings.
        if server.is_guarded and row.is_listed and row.sha256 == definition.sha256:
            return False
        await self._touch(uow, server, definition, row)
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
        if server.is_guarded and not is_approved:
            await self._quarantined(uow, server, definition, "changed", row.sha256)
        return True

    async def _quarantined(
        self,
        uow: UnitOfWork,
        server: ServerConfig,
        definition: ToolDefinition,
        why: str,
        before: str | None,
    ) -> None:
        """State that a tool waits; the developer is told of it."""
        details: dict[str, Any] = {"why": why, "from": before, "to": definition.sha256}
        payload = {"slug": server.name, "subject": definition.full_name, "details": details}
        await outbox.publish(uow, outbox.Event(TOOL_QUARANTINED, payload))
