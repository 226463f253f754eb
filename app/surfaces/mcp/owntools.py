"""The platform's own tools as values: name, arguments, answer, scope, handler."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from app.kernel.principal import Principal, Scope
from app.surfaces.mcp.calls import Call
from app.surfaces.mcp.results import Result, answer
from app.surfaces.payloads import Payload, parse
from app.surfaces.views import View

ArgumentsT = TypeVar("ArgumentsT", bound=Payload)


@cache
def _taken(model: type[BaseModel]) -> dict[str, Any]:
    """What a class accepts. Written once, not for each application: all of them take a while."""
    return model.model_json_schema()


@cache
def _given(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(mode="serialization")


@dataclass(frozen=True)
class OwnTool(Generic[ArgumentsT]):
    """A tool served here, not by a tool server. It costs nothing by itself."""

    name: str
    description: str
    arguments: type[ArgumentsT]
    answer: type[View]
    scope: Scope | None
    handler: Callable[[Call, ArgumentsT], Awaitable[View | Result]]
    is_read_only: bool = True
    page: str | None = None
    """The `ui://` resource that shows its answer."""

    async def run(self, call: Call, raw: dict[str, Any]) -> Result:
        """Check the scope and the arguments, then answer."""
        if self.scope is not None:
            call.principal.require(self.scope)
        given = await self.handler(call, parse(self.arguments, raw))
        return answer(given.as_json()) if isinstance(given, View) else given

    def is_for(self, principal: Principal) -> bool:
        """Whether the principal may call it."""
        return self.scope is None or bool(principal.scopes & {self.scope, Scope.ADMIN})

    def as_tool(self) -> dict[str, Any]:
        """The definition that `tools/list` shows."""
        shown: dict[str, Any] = {
            "name": self.name,
            "description": self.description,
            "inputSchema": _taken(self.arguments),
            "outputSchema": _given(self.answer),
            "annotations": {"readOnlyHint": self.is_read_only, "openWorldHint": False},
        }
        return shown if self.page is None else shown | {"_meta": {"ui": {"resourceUri": self.page}}}


class OwnTools:
    """The own tools by name, and by the alias that has `_` for `.`."""

    def __init__(self, tools: Sequence[OwnTool[Any]]) -> None:
        self._tools = tuple(tools)
        self._shown = {tool.name: tool.as_tool() for tool in tools}
        self._by_name = {tool.name: tool for tool in tools}
        self._by_name |= {tool.name.replace(".", "_"): tool for tool in tools}

    def find(self, name: str) -> OwnTool[Any] | None:
        """The tool of that name or alias."""
        return self._by_name.get(name)

    def schema(self, name: str) -> dict[str, Any] | None:
        """The input schema of the tool of that name or alias."""
        tool = self.find(name)
        return None if tool is None else self._shown[tool.name]["inputSchema"]

    @property
    def names(self) -> list[str]:
        """The names of all of them, in order."""
        return [tool.name for tool in self._tools]

    @property
    def definitions(self) -> list[dict[str, Any]]:
        """All definitions, in order."""
        return [self._shown[tool.name] for tool in self._tools]

    def shown(self, principal: Principal) -> list[tuple[int, dict[str, Any]]]:
        """The definitions that the principal may see, each with its place among all of them."""
        return [
            (place, self._shown[tool.name])
            for place, tool in enumerate(self._tools)
            if tool.is_for(principal)
        ]
