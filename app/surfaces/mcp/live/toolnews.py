"""Whether the list of tools has changed since it was last looked at, and for whom."""

from dataclasses import dataclass

from app.kernel.principal import Principal, Scope
from app.registry import Registry, Snapshot

_OPERATOR = Principal("service", scopes=frozenset({Scope.ADMIN}))


@dataclass(frozen=True, slots=True)
class Difference:
    """Two snapshots, and the tools that are not the same in both."""

    before: Snapshot
    after: Snapshot
    names: frozenset[str]

    def is_seen_by(self, principal: Principal, server: str | None = None) -> bool:
        """Whether the principal's list, or that of one server, has another tool than before."""
        names = [name for name in self.names if server is None or name.startswith(f"{server}.")]
        if not names or not principal.scopes & {Scope.TOOLS, Scope.ADMIN}:
            return False
        before, after = (
            {tool.full_name: tool for tool in snapshot.tools(principal)}
            for snapshot in (self.before, self.after)
        )
        return any(before.get(name) != after.get(name) for name in names)


class ToolNews:
    """Compares snapshots of the registry; one that was only read again is no news."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._seen = registry.snapshot()

    def reset(self) -> None:
        """What there is now is known."""
        self._seen = self._registry.snapshot()

    def take(self) -> Difference | None:
        """What has changed since the last time."""
        before, after = self._seen, self._registry.snapshot()
        if before is after:
            return None
        self._seen = after
        old, new = (
            {tool.full_name: tool for tool in snapshot.tools(_OPERATOR)}
            for snapshot in (before, after)
        )
        names = frozenset(
            name for name in old.keys() | new.keys() if old.get(name) != new.get(name)
        )
        return Difference(before, after, names) if names else None
