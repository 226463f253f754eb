"""What operators decide about servers: approve, send back, disable; and what developers hear."""

from collections.abc import Callable, Mapping
from typing import Any

from app.kernel import audit, outbox
from app.kernel.principal import Principal, Scope
from app.kernel.uow import UnitOfWork
from app.registry import store as tool_store
from app.registry.findings import Scan, refuse_findings, scanned
from app.registry.pins import Pins
from app.registry.servers import store
from app.registry.servers.service import Servers, newest_of, version_of
from app.registry.servers.states import require_move
from app.registry.servers.types import Server, Version, config_of
from app.registry.types import ToolDefinition

APPROVED = "registry.server_approved"
DISABLED = "registry.server_disabled"
SENT_BACK = "registry.server_sent_back"


class Decisions:
    """Decisions of operators (scope `admin`), in the caller's transaction of the platform."""

    def __init__(
        self, servers: Servers, pins: Pins, scan: Scan, changed: Callable[[UnitOfWork], None]
    ) -> None:
        """`changed` is told of every change that calls must follow."""
        self._servers = servers
        self._pins = pins
        self._scan = scan
        self._changed = changed

    async def approve(
        self, uow: UnitOfWork, principal: Principal, slug: str
    ) -> list[tuple[str, int]]:
        """Approve the version that waits; without one, a disabled server as it was.

        Its definitions are scanned and pinned. Returns the tools' full names and prices, which
        the caller publishes in the same transaction. Raises `tool_definition_refused`,
        `conflict`, `forbidden`, `not_found`.
        """
        principal.require(Scope.ADMIN)
        await tool_store.lock(uow)
        server = await self._servers.get(uow, principal, slug)
        version = await self._candidate(uow, server)
        definitions = _definitions(slug, version)
        found = scanned(self._scan, definitions)
        refuse_findings(found, f"Version {version.version} of {slug}")
        await store.decide(uow, version, "Approved", None)
        await store.set_state(uow, server, "Approved", approved=version.number)
        config = config_of(slug, version.address, server.offer)
        await self._pins.accept(uow, config, definitions)
        await _tell(uow, APPROVED, server, version, {})
        self._changed(uow)
        return [(each.full_name, config.prices.of(each.name)) for each in definitions]

    async def _candidate(self, uow: UnitOfWork, server: Server) -> Version:
        newest = await newest_of(uow, server)
        if newest.status == "Pending" or server.status != "Disabled":
            require_move(newest.status, "Approved", "operator", what=_named(server, newest))
            return newest
        require_move(server.status, "Approved", "operator", what=server.slug)
        # One that was refused for good has no version that was ever approved.
        number = server.approved_version or server.latest_version
        version = await version_of(uow, server, number)
        if version.status == "Draft":
            require_move("Draft", "Approved", "operator", what=_named(server, version))
        return version

    async def send_back(
        self, uow: UnitOfWork, principal: Principal, slug: str, reason: str
    ) -> Server:
        """Return the version that waits to its developer, to be edited."""
        principal.require(Scope.ADMIN)
        await tool_store.lock(uow)
        server = await self._servers.get(uow, principal, slug)
        newest = await newest_of(uow, server)
        require_move(newest.status, "Draft", "operator", what=_named(server, newest))
        await store.decide(uow, newest, "Draft", reason)
        if server.status == "Pending":
            await store.set_state(uow, server, "Draft", reason=reason)
        await _tell(uow, SENT_BACK, server, newest, {"reason": reason})
        return await self._servers.get(uow, principal, slug)

    async def disable(
        self, uow: UnitOfWork, principal: Principal, slug: str, reason: str
    ) -> Server:
        """Switch a server off: none of its tools can be called until it is approved again."""
        principal.require(Scope.ADMIN)
        await tool_store.lock(uow)
        server = await self._servers.get(uow, principal, slug)
        newest = await newest_of(uow, server)
        require_move(server.status, "Disabled", "operator", what=slug)
        if server.status == "Pending":
            await store.decide(uow, newest, "Disabled", reason)
        await store.set_state(uow, server, "Disabled", reason=reason)
        await _tell(uow, DISABLED, server, newest, {"reason": reason})
        self._changed(uow)
        return await self._servers.get(uow, principal, slug)


def _definitions(slug: str, version: Version) -> list[ToolDefinition]:
    return [ToolDefinition.from_dict(slug, raw) for raw in version.definitions]


def _named(server: Server, version: Version) -> str:
    return f"Version {version.version} of {server.slug}"


async def _tell(
    uow: UnitOfWork, event: str, server: Server, version: Version, more: Mapping[str, Any]
) -> None:
    details = {"version": version.version, **more}
    await audit.record(uow, event, f"server:{server.slug}", details)
    payload = {"slug": server.slug, "subject": server.slug, "details": details}
    await outbox.publish(uow, outbox.Event(event, payload))
