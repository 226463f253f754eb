"""The facade: keeps the index to the tools there are, and searches it."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from app.kernel.uow import UnitOfWork
from app.llm import Embedder
from app.registry.discovery import store
from app.registry.discovery.store import Indexed

_SEPARATORS = re.compile(r"[._\-/]+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# A heading weighs most in a search: nobody gets more of it than others.
_HEADING = 200
_LONGEST = 4_000
# A service takes 8,191 tokens a text, and no token is shorter than a byte.
_BYTES = 8_000


@dataclass(frozen=True)
class Document:
    """What is known of a tool: its full name, title, description and input schema."""

    name: str
    title: str
    description: str
    schema: Mapping[str, Any]

    @property
    def heading(self) -> str:
        """Name and title, in words."""
        return f"{_words(self.name)} {self.title}".strip()[:_HEADING]

    @cached_property
    def body(self) -> str:
        """The description, and the names and descriptions of the arguments."""
        return " ".join([self.description, *_arguments(self.schema)])[:_LONGEST]

    @cached_property
    def digest(self) -> str:
        """Another one for another text."""
        return hashlib.sha256(f"{self.heading}\0{self.body}".encode()).hexdigest()


class Match(NamedTuple):
    """A tool that was found; scores compare within one search only."""

    name: str
    score: float


class Discovery:
    """The index under one model. Embedding takes its time: never within a unit of work."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    async def missing(self, uow: UnitOfWork, documents: Sequence[Document]) -> list[Document]:
        """Those that are not indexed as they are now."""
        known = await store.digests(uow, self._embedder.model)
        return [one for one in documents if known.get(one.name) != one.digest]

    async def indexed(self, documents: Sequence[Document]) -> list[Indexed]:
        """Their rows. Raises `embedding_failed`."""
        vectors = await self._embedder.embed([_text(one) for one in documents])
        return [
            Indexed(one.name, one.digest, one.heading, one.body, vector)
            for one, vector in zip(documents, vectors, strict=True)
        ]

    async def write(self, uow: UnitOfWork, rows: Sequence[Indexed], names: Sequence[str]) -> None:
        """Write rows, and delete what is neither of these names nor of a registered tool."""
        await store.write(uow, self._embedder.model, rows)
        await store.prune(uow, names)

    async def vector(self, query: str) -> list[float]:
        """What the query means. Raises `embedding_failed`."""
        (vector,) = await self._embedder.embed([query])
        return vector

    async def search(
        self,
        uow: UnitOfWork,
        query: str,
        vector: Sequence[float],
        names: Sequence[str],
        limit: int,
    ) -> list[Match]:
        """The best of the tools `names` for a query, best first; one that it names is first."""
        model = self._embedder.model
        found = await store.search(uow, _words(query), vector, model, names, limit)
        matches = [Match(name, round(score, 4)) for name, score in found]
        asked = query.lower()
        return sorted(matches, key=lambda one: (one.name.lower() not in asked, -one.score))


def _text(document: Document) -> str:
    """What is embedded of a tool."""
    text = f"{document.heading}. {document.body}"
    return text.encode()[:_BYTES].decode(errors="ignore")


def _words(text: str) -> str:
    return _SEPARATORS.sub(" ", _CAMEL.sub(" ", text))


def _arguments(schema: Mapping[str, Any]) -> list[str]:
    properties = schema.get("properties")
    if not isinstance(properties, Mapping):
        return []
    found = []
    for name, value in properties.items():
        said = value.get("description") if isinstance(value, Mapping) else None
        found.append(f"{_words(str(name))} {said if isinstance(said, str) else ''}".strip())
    return found
