"""Finds tools by what they do, among those the caller may call; the same for both doors."""

import asyncio
from collections.abc import Sequence

from app.kernel.principal import SERVICE, Principal, Scope
from app.llm import make_embedder
from app.registry import Discovery, Document, Snapshot, Tool
from app.surfaces.services import Services
from app.surfaces.views import View


class FoundTool(View):
    """A tool that may do what was asked for; scores compare within one answer only."""

    name: str
    description: str
    price_micro: int
    score: float


class FoundTools(View):
    """The best ones, best first."""

    tools: list[FoundTool]


class Finding:
    """Searches the index, and brings it up to date first where the registry has changed since."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._discovery = Discovery(make_embedder(services.settings))
        self._own: dict[str, Document] = {}
        self._indexed: Snapshot | None = None
        self._turn = asyncio.Lock()

    def know(self, own: Sequence[Document]) -> None:
        """Index the platform's own tools as well."""
        self._own = {one.name: one for one in own}

    async def find(
        self, principal: Principal, query: str, limit: int, own: Sequence[str] = ()
    ) -> FoundTools:
        """The best tools for a query, of those registered and the `own` ones named.

        It counts among the caller's calls: each asks the embedder, which may be a paid service.
        Raises `forbidden`, `rate_limited`, `embedding_failed`, `hub_unavailable`.
        """
        principal.require(Scope.TOOLS)
        per_minute = self._services.settings.calls_per_minute
        await self._services.proxy.limiter.take(f"calls:{principal.user_id}", per_minute)
        snapshot = self._services.registry.snapshot()
        if snapshot is not self._indexed:
            await self._index(snapshot)
        vector = await self._discovery.vector(query)
        visible = {tool.full_name: tool for tool in snapshot.tools(principal)}
        names = [*visible, *own]
        async with self._services.database.begin(SERVICE) as uow:
            found = await self._discovery.search(uow, query, vector, names, limit)
        shown = [self._shown(one.name, one.score, visible.get(one.name)) for one in found]
        return FoundTools(tools=shown)

    async def _index(self, snapshot: Snapshot) -> None:
        async with self._turn:
            if snapshot is self._indexed:
                return
            documents = [*map(_document, snapshot.approved()), *self._own.values()]
            async with self._services.database.begin(SERVICE) as uow:
                missing = await self._discovery.missing(uow, documents)
            rows = await self._discovery.indexed(missing)
            async with self._services.database.begin(SERVICE) as uow:
                await self._discovery.write(uow, rows, [one.name for one in documents])
            self._indexed = snapshot

    def _shown(self, name: str, score: float, tool: Tool | None) -> FoundTool:
        if tool is not None:
            about, price = tool.description, tool.price_micro
        else:
            about, price = self._own[name].description, 0
        return FoundTool(name=name, description=about, price_micro=price, score=score)


def _document(tool: Tool) -> Document:
    definition = tool.definition
    title = definition.more.get("title")
    return Document(
        tool.full_name,
        title if isinstance(title, str) else "",
        tool.description,
        definition.input_schema,
    )
