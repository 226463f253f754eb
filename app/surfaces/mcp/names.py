"""Names of tools for models whose function names allow no dot.

A client asks for them with `?names=underscore` in the URL, the header `Uaol-Names: underscore` or
`"uaol/names": "underscore"` in a request's `_meta`; calls by such a name always work.
"""

import re
from collections import Counter
from collections.abc import Iterable
from hashlib import sha256
from typing import Literal

from starlette.requests import HTTPConnection

from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal, Scope
from app.registry import Snapshot
from app.surfaces.mcp.calls import Context
from app.surfaces.operations import Operations

Style = Literal["dotted", "underscore"]
HEADER = "uaol-names"
META_KEY = "uaol/names"
QUERY = "names"
# What the APIs of language models take as a function's name.
_UNFIT = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST = 64
_DIGEST = 8
_EVERYONE = Principal(kind="service", scopes=frozenset({Scope.ADMIN}))


def style_of(context: Context) -> Style:
    """How the request wants tools to be named; `invalid_input` for a word that is no style."""
    asked = (context.params or {}).get("_meta") or {}
    chosen = asked.get(META_KEY)
    request = context.request
    if chosen is None and isinstance(request, HTTPConnection):
        chosen = request.headers.get(HEADER) or request.query_params.get(QUERY)
    match chosen:
        case None | "dotted":
            return "dotted"
        case "underscore":
            return "underscore"
        case _:
            raise AppError(
                Code.INVALID_INPUT,
                "Names of tools are `dotted` or `underscore`.",
                hint=f"Correct ?{QUERY}=, the header {HEADER} or the _meta key {META_KEY}.",
            )


def aliases(names: Iterable[str]) -> dict[str, str]:
    """The alias of each name: letters, digits, `_` and `-`, at most 64 of them, all different.

    A name whose plain alias is too long, or also that of another one, gets a part of its hash;
    so an alias changes only when a name comes that clashes with it.
    """
    plain = {name: _UNFIT.sub("_", name) for name in names}
    often = Counter(plain.values())
    return {
        name: alias if often[alias] == 1 and len(alias) <= _LONGEST else _marked(name, alias)
        for name, alias in plain.items()
    }


def _marked(name: str, alias: str) -> str:
    digest = sha256(name.encode()).hexdigest()[:_DIGEST]
    return f"{alias[: _LONGEST - _DIGEST - 1]}_{digest}"


class Names:
    """The aliases of all tools there are, made once for each state of the registry."""

    def __init__(self, operations: Operations, own: Iterable[str]) -> None:
        self._registry = operations.services.registry
        # An own tool's alias is fixed, whatever a server calls its tools.
        self._own = aliases(own)
        self._snapshot: Snapshot | None = None
        self._alias: dict[str, str] = {}
        self._full: dict[str, str] = {}

    def shown(self, name: str, style: Style) -> str:
        """A tool's full name as the client wants it."""
        if style == "dotted":
            return name
        self._refresh()
        return self._alias.get(name, name)

    def full(self, name: str) -> str:
        """The full name that an alias stands for; any other name as it is."""
        self._refresh()
        return self._full.get(name, name)

    def _refresh(self) -> None:
        snapshot = self._registry.snapshot()
        if snapshot is self._snapshot:
            return
        taken = set(self._own.values())
        names = [tool.full_name for tool in snapshot.tools(_EVERYONE)]
        found = {
            name: _marked(name, alias) if alias in taken else alias
            for name, alias in aliases(names).items()
        }
        self._alias = found | self._own
        self._full = {alias: name for name, alias in self._alias.items()}
        self._snapshot = snapshot
