"""Names that stand twice in an object. JSON (RFC 8259, section 4) leaves open which one counts,
so two readers may see two workflows; what is read in two ways is not run.
"""

import json
from collections.abc import Iterator
from typing import Any

from app.kernel.errors import AppError, Code
from app.orchestration.workflow.mistakes import Mistake, pointer_of, refusal

_HINT = "Which of two fields of one name counts differs from reader to reader: leave one out."
Place = tuple[int | str, ...]


class _Object(dict[str, Any]):
    """An object in which a name stood twice."""

    double: str


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    marked, left = _Object(found), set(found)
    for name, _ in pairs:
        if name not in left:
            marked.double = name
            break
        left.remove(name)
    return marked


def parse(body: bytes | str) -> tuple[Any, list[tuple[Place, str]]]:
    """The JSON, and the places of objects in which a name stands twice, with that name.

    Raises `ValueError` or `RecursionError` for what is no JSON.
    """
    marks: list[_Object] = []

    def hook(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = _object(pairs)
        if isinstance(made, _Object):
            marks.append(made)
        return made

    raw = json.loads(body, object_pairs_hook=hook)
    return raw, list(_places(raw)) if marks else []


def _places(raw: Any) -> Iterator[tuple[Place, str]]:
    """Those that a later field of the same name has replaced lie in one that is found."""
    stack: list[tuple[Place, Any]] = [((), raw)]
    while stack:
        place, value = stack.pop()
        if isinstance(value, _Object):
            yield place, value.double
        if isinstance(value, dict):
            stack.extend(((*place, name), child) for name, child in value.items())
        elif isinstance(value, list):
            stack.extend(((*place, at), child) for at, child in enumerate(value))


def doubled(found: list[tuple[Place, str]]) -> AppError:
    """The error of a definition in which names stand twice."""
    return refusal(
        Mistake(pointer_of(*place), "duplicate_name", f"'{name[:64]}' stands twice.")
        for place, name in found
    )


def refuse_doubles(body: bytes, within: str) -> None:
    """Refuse a request in which a name stands twice; `within` is its field with the definition.

    A mistake there has its pointer in the definition, one elsewhere its pointer in the request.
    """
    try:
        _, found = parse(body)
    except (ValueError, RecursionError):
        # Whoever reads the request says so.
        return
    if inside := [(place[1:], name) for place, name in found if place[:1] == (within,)]:
        raise doubled(inside)
    for place, name in found:
        where = pointer_of(*place)
        raise AppError(
            Code.INVALID_INPUT,
            f"{where or 'The body'}: '{name[:64]}' stands twice.",
            hint=_HINT,
            details={"pointer": where},
        )
