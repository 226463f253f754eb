"""The tools and servers in memory, as of one moment: what every call and every listing reads."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches

from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal, Scope
from app.registry.servers import Published, RegisteredServer
from app.registry.types import Tool


class Lookups:
    """How often the registry was asked and answered from memory, and read from the database."""

    __slots__ = ("hits", "reads")

    def __init__(self) -> None:
        self.hits = 0
        self.reads = 0

    @property
    def ratio(self) -> float:
        """The share of look-ups that memory answered; 1 before the first."""
        total = self.hits + self.reads
        return self.hits / total if total else 1.0


class Snapshot:
    """An immutable set of tools with their names and aliases, and of registered servers."""

    def __init__(
        self,
        tools: Iterable[Tool] = (),
        *,
        servers: Iterable[RegisteredServer] = (),
        published: Sequence[Published] = (),
        lookups: Lookups | None = None,
    ) -> None:
        self._tools = {tool.full_name: tool for tool in sorted(tools, key=lambda t: t.full_name)}
        aliases: dict[str, list[Tool]] = defaultdict(list)
        for tool in self._tools.values():
            # Function names of language models allow no dot.
            aliases[tool.full_name.replace(".", "_")].append(tool)
        self._aliases = {name: found[0] for name, found in aliases.items() if len(found) == 1}
        self._servers = {server.slug: server for server in servers}
        self._published = tuple(published)
        self._lookups = lookups or Lookups()

    def tools(self, principal: Principal) -> list[Tool]:
        """The tools `principal` may call, by name; an operator also sees those not approved."""
        self._lookups.hits += 1
        is_operator = Scope.ADMIN in principal.scopes
        return [tool for tool in self._tools.values() if is_operator or tool.status == "Approved"]

    def approved(self) -> list[Tool]:
        """The tools that everybody may call, by name."""
        return [tool for tool in self._tools.values() if tool.status == "Approved"]

    def server(self, slug: str) -> RegisteredServer | None:
        """The registered server of that slug, Disabled ones too; None for a configured one."""
        self._lookups.hits += 1
        return self._servers.get(slug)

    def servers(self) -> list[RegisteredServer]:
        """The registered servers that are Approved, by slug."""
        return [server for server in self._servers.values() if server.status == "Approved"]

    @property
    def published(self) -> Sequence[Published]:
        """Every approved version of the Approved servers, by name, oldest first."""
        self._lookups.hits += 1
        return self._published

    def recalled(self) -> None:
        """Count a look-up that somebody answered from what they had found here before."""
        self._lookups.hits += 1

    def names(self) -> Collection[str]:
        """The full names of all tools, whatever their status."""
        return self._tools.keys()

    def server_names(self) -> frozenset[str]:
        """The servers that have tools here, and all registered ones."""
        return frozenset({tool.server for tool in self._tools.values()} | self._servers.keys())

    def find(self, name: str) -> Tool | None:
        """The tool of that full name or unambiguous alias, whatever its status."""
        self._lookups.hits += 1
        return self._tools.get(name) or self._aliases.get(name)

    def resolve(self, name: str) -> Tool:
        """The callable tool of that full name or alias.

        Raises `tool_unknown`, `tool_disabled`, or `tool_definition_changed` while a definition
        other than the approved one waits for approval.
        """
        tool = self.find(name)
        if tool is None:
            raise self._unknown(name)
        if tool.status == "Approved":
            return tool
        if tool.status == "Pending" and tool.has_changed:
            raise AppError(
                Code.TOOL_DEFINITION_CHANGED,
                f"The server of {tool.full_name} now describes it differently than was approved.",
                hint="An operator has to approve the new definition.",
                details={"tool": tool.full_name},
            )
        state = "is switched off" if tool.status == "Disabled" else "waits for approval"
        raise AppError(
            Code.TOOL_DISABLED,
            f"The tool {tool.full_name} {state}.",
            hint="An operator has to approve it.",
            details={"tool": tool.full_name, "status": tool.status},
        )

    def _unknown(self, name: str) -> AppError:
        near = get_close_matches(name[:128], self._tools, n=3, cutoff=0.6)
        return AppError(
            Code.TOOL_UNKNOWN,
            f"There is no tool named {name[:128]!r}.",
            hint=f"Did you mean {', '.join(near)}?" if near else "List the tools to see the names.",
            details={"similar": near},
        )
