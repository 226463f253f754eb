"""Two versions of a server side by side, or a version and what the running server offers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal
from app.kernel.uow import UnitOfWork
from app.registry import store as tool_store
from app.registry.differences import Change, ToolDifference, compare, differences
from app.registry.servers import store
from app.registry.servers.service import Servers
from app.registry.servers.types import Server, Version

LIVE = "live"
NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs: in server.json and address (`changes`), and in the tools."""

    before: str
    after: str
    changes: tuple[Change, ...]
    tools: tuple[ToolDifference, ...]

    @property
    def text(self) -> str:
        """The whole of it for people."""
        lines = [f"--- {self.before}", f"+++ {self.after}"]
        if self.changes:
            lines += ToolDifference("server.json", "changed", self.changes).lines()
        for tool in self.tools:
            lines += tool.lines()
        return "\n".join(lines) if len(lines) > 2 else f"{lines[0]}\n{lines[1]}\nno difference"


@dataclass(frozen=True, slots=True)
class _Side:
    name: str
    document: Mapping[str, Any]
    definitions: Sequence[Mapping[str, Any]]


_EMPTY = _Side(NOTHING, {}, ())


class Comparisons:
    """Compares versions of servers the principal may see."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers

    async def of(
        self,
        uow: UnitOfWork,
        principal: Principal,
        slug: str,
        before: str | None = None,
        after: str | None = None,
    ) -> Comparison:
        """The difference of two versions, `live` being what the running server offers now.

        Without `before` it is the approved version; without `after` the newest one, or `live`
        where that is the approved one itself. Raises `not_found` for an unknown version.
        """
        server = await self._servers.get(uow, principal, slug)
        known = await store.versions(uow, server.server_id)
        one = _approved(server, known) if before is None else await _side(uow, slug, known, before)
        if after is None:
            is_newest = known[0].number == server.approved_version
            after = LIVE if is_newest else known[0].version
        two = await _side(uow, slug, known, after)
        changes = () if LIVE in (one.name, two.name) else _changes(one, two)
        tools = differences(one.definitions, two.definitions)
        return Comparison(one.name, two.name, changes, tuple(tools))


def _approved(server: Server, known: Sequence[Version]) -> _Side:
    for version in known:
        if version.number == server.approved_version:
            return _of(version)
    return _EMPTY


async def _side(uow: UnitOfWork, slug: str, known: Sequence[Version], name: str) -> _Side:
    if name == LIVE:
        return _Side(LIVE, {}, await tool_store.latest_definitions(uow, slug))
    for version in known:
        if version.version == name:
            return _of(version)
    raise AppError(
        Code.NOT_FOUND,
        f"{slug} has no version {name[:100]!r}.",
        hint=f"Known are {', '.join(version.version for version in known[:20])} and '{LIVE}'.",
    )


def _of(version: Version) -> _Side:
    document = {"server": dict(version.document), "address": version.address.as_dict()}
    return _Side(version.version, document, version.definitions)


def _changes(one: _Side, two: _Side) -> tuple[Change, ...]:
    return tuple(compare(one.document, two.document))
