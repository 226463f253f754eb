"""Refuses query parameters that a route does not know.

A filter or cursor that is misspelt would otherwise be passed over in silence: its caller would take
all things for the few it asked for, or read the first page for ever.
"""

from collections.abc import Iterator

from fastapi import Depends, Request
from fastapi.dependencies.models import Dependant

from app.kernel.errors import AppError, Code


async def _known_only(request: Request) -> None:
    if not request.scope["query_string"]:
        return
    known = tuple(_declared(request.scope["route"].dependant))
    unknown = next((name for name in request.query_params if name not in known), None)
    if unknown is not None:
        raise AppError(
            Code.UNKNOWN_FIELD,
            f"There is no query parameter {unknown[:60]!r}.",
            hint=f"Known here: {', '.join(known)}." if known else "None is known here.",
            details={"pointer": f"/{unknown[:60]}"},
        )


def _declared(dependant: Dependant) -> Iterator[str]:
    yield from (field.alias for field in dependant.query_params)
    for inner in dependant.dependencies:
        yield from _declared(inner)


KnownQuery = Depends(_known_only)
