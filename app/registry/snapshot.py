"""The tools in memory, as of one moment: what every call and every listing reads."""

from collections import defaultdict
from collections.abc import Iterable
from difflib import get_close_matches

from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal, Scope
from app.registry.types import Tool


class Snapshot:
    """An immutable set of tools with their names and aliases."""

    def __init__(self, tools: Iterable[Tool] = ()) -> None:
        self._tools = {tool.full_name: tool for tool in sorted(tools, key=lambda t: t.full_name)}
        aliases: dict[str, list[Tool]] = defaultdict(list)
        for tool in self._tools.values():
            # Function names of language models allow no dot.
            aliases[tool.full_name.replace(".", "_")].append(tool)
        self._aliases = {name: found[0] for name, found in aliases.items() if len(found) == 1}

    def tools(self, principal: Principal) -> list[Tool]:
        """The tools `principal` may call, by name; an operator also sees those not approved."""
        is_operator = Scope.ADMIN in principal.scopes
        return [tool for tool in self._tools.values() if is_operator or tool.status == "Approved"]

    def find(self, name: str) -> Tool | None:
        """The tool of that full name or unambiguous alias, whatever its status."""
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
