"""`registry.find_tools`: "find me a tool", for models that face more of them than they can read."""

from typing import Annotated, Any

from pydantic import Field

from app.kernel.principal import Scope
from app.registry import Document
from app.surfaces.finding import FoundTools
from app.surfaces.mcp.calls import Call
from app.surfaces.mcp.owntools import OwnTool, OwnTools
from app.surfaces.operations import Operations
from app.surfaces.payloads import Payload, Text

_FIND = """\
Find tools by what they do: say in a sentence what you want to get done. The best come first, with
their prices; call one by its name."""


class Wanted(Payload):
    """What the tool should do."""

    query: Annotated[Text, Field(min_length=1, max_length=500, description="What it should do.")]
    limit: Annotated[int, Field(ge=1, le=50)] = 10


class FindTools:
    """The handler, over the search both doors share."""

    def __init__(self, operations: Operations) -> None:
        self._finding = operations.finding
        self._own: OwnTools | None = None

    def tools(self) -> list[OwnTool[Any]]:
        """The tool."""
        return [OwnTool("registry.find_tools", _FIND, Wanted, FoundTools, Scope.TOOLS, self.find)]

    def know(self, own: OwnTools) -> None:
        """Find the platform's own tools too."""
        self._own = own
        self._finding.know(
            [
                Document(shown["name"], "", shown["description"], shown["inputSchema"])
                for shown in own.definitions
            ]
        )

    async def find(self, call: Call, given: Wanted) -> FoundTools:
        """Search among what the caller may call."""
        assert self._own is not None
        own = [shown["name"] for _, shown in self._own.shown(call.principal)]
        return await self._finding.find(call.principal, given.query, given.limit, own)
