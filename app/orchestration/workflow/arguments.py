"""Arguments against the schema of what they are for, as far as they are known beforehand.

What an expression will give is not known; a mistake is noted only where no value could mend it.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any

import orjson
from jsonschema_rs import Draft202012Validator, ValidationError, ValidationErrorKind

from app.orchestration.workflow.expressions import Budget, ExpressionError
from app.orchestration.workflow.inputs import SchemaError, compile_schema
from app.orchestration.workflow.mistakes import Mistake, pointer_of
from app.orchestration.workflow.values import Value

_SHOWN = 20
_WIDTH = 300
_Place = tuple[int | str, ...]
# Whether such a part of a schema counts may depend on a value that is not known yet.
_CONDITIONAL = ("if", "dependentSchemas", "unevaluatedProperties", "$dynamicRef")
# These look at an object's names alone, and names are never expressions.
_BY_NAME = (ValidationErrorKind.Required, ValidationErrorKind.AdditionalProperties)


def argument_mistakes(value: Value, schema: Mapping[str, Any], pointer: str) -> list[Mistake]:
    """The mistakes of a node's arguments; `pointer` leads to them in the definition."""
    unknown = [place for place, _ in value.expressions()]
    check = _compiled(orjson.dumps(schema, option=orjson.OPT_SORT_KEYS))
    if check is None or () in unknown or (unknown and _mentions(schema, _CONDITIONAL)):
        return []
    try:
        given = value.resolve(lambda _expression: None, Budget())
        errors = list(islice(check.iter_errors(given), _SHOWN))
    except (ExpressionError, ValueError):
        return []
    return [_mistake(error, pointer) for error in errors if _is_certain(error, unknown)]


def _is_certain(error: ValidationError, unknown: list[_Place]) -> bool:
    at: _Place = tuple(error.instance_path)
    for place in unknown:
        if at[: len(place)] == place:
            return False
        if place[: len(at)] == at and not isinstance(error.kind, _BY_NAME):
            return False
    return True


def _mistake(error: ValidationError, pointer: str) -> Mistake:
    path = list(error.instance_path)
    code = "invalid_value"
    if isinstance(error.kind, ValidationErrorKind.AdditionalProperties):
        code = "unknown_field"
        path += error.kind.unexpected[:1]
    elif isinstance(error.kind, ValidationErrorKind.Required):
        code = "missing_field"
    return Mistake(pointer + pointer_of(*path), code, error.message[:_WIDTH])


@lru_cache(maxsize=512)
def _compiled(schema: bytes) -> Draft202012Validator | None:
    try:
        return compile_schema(orjson.loads(schema))
    except SchemaError:
        return None


def _mentions(schema: Any, words: tuple[str, ...]) -> bool:
    return any(
        isinstance(part, Mapping) and not part.keys().isdisjoint(words) for part in _parts(schema)
    )


def _parts(schema: Any) -> Iterator[Any]:
    stack = [schema]
    while stack:
        part = stack.pop()
        yield part
        if isinstance(part, Mapping):
            stack.extend(part.values())
        elif isinstance(part, list):
            stack.extend(part)
