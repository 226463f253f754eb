"""The rules every request body keeps, whatever door it comes through."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, model_validator
from pydantic import ValidationError as SchemaError

from app.kernel.errors import AppError, Code

_MAX_DEPTH = 64
_MAX_INT = 2**63
# A model says the one, a dataclass the other.
_EXTRA = ("extra_forbidden", "unexpected_keyword_argument")
_NO_OBJECT = ("model_attributes_type", "model_type", "dataclass_type", "dict_type")
_PLACES = {"body", "query", "path", "header", "cookie"}


def pointer(path: Sequence[str | int]) -> str:
    """The JSON pointer (RFC 6901) of a path."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _refuse(path: Sequence[str | int], why: str) -> AppError:
    where = pointer(path)
    return AppError(
        Code.INVALID_INPUT,
        f"{where or 'The value'} {why}.",
        hint="Correct the value and send the request again.",
        details={"pointer": where},
    )


def text_fault(text: str) -> str | None:
    """Why a string cannot be stored (RFC 8259 lets it through, PostgreSQL and UTF-8 do not)."""
    if "\x00" in text:
        return "contains a NUL character"
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        return "contains a lone surrogate"
    return None


def _children(value: object) -> Iterator[tuple[str | int, object]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list | tuple):
        yield from enumerate(value)


def _fault(value: object) -> str | None:
    if isinstance(value, str):
        return text_fault(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "is not a finite number"
    if isinstance(value, int) and not -_MAX_INT <= value < _MAX_INT:
        return "is a number of more than 64 bits"
    return None


def _is_storable(value: object, room: int) -> bool:
    if isinstance(value, str):
        return text_fault(value) is None
    if isinstance(value, dict):
        return _are_storable(value, room) and _are_storable(value.values(), room)
    if isinstance(value, list | tuple):
        return _are_storable(value, room)
    return _fault(value) is None


def _are_storable(values: Iterable[object], room: int) -> bool:
    # Every value of every request comes by here; `all` over a generator takes twice as long.
    for one in values:  # noqa: SIM110
        if room == 0 or not _is_storable(one, room - 1):
            return False
    return True


def check_json(value: object) -> None:
    """Raise `invalid_input` for JSON that some part of the system could not store or pass on."""
    # Keeping the path of every value costs more than the check; only a fault needs one.
    if _is_storable(value, _MAX_DEPTH):
        return
    stack: list[tuple[tuple[str | int, ...], object]] = [((), value)]
    while stack:
        path, item = stack.pop()
        if (why := _fault(item)) is not None:
            raise _refuse(path, why)
        if len(path) > _MAX_DEPTH:
            raise _refuse(path[:8], f"is nested deeper than {_MAX_DEPTH} levels")
        for key, child in _children(item):
            if isinstance(key, str) and (why := text_fault(key)) is not None:
                raise _refuse(path, f"has a field whose name {why}")
            stack.append(((*path, key), child))


class Payload(BaseModel):
    """Base of every request body and every tool's arguments: no unknown field, storable text."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _storable(cls, raw: Any) -> Any:
        check_json(raw)
        return raw


PayloadT = TypeVar("PayloadT", bound=Payload)


def parse(model: type[PayloadT], raw: object) -> PayloadT:
    """`raw` as a `model`, or an `AppError` that says where it does not fit."""
    try:
        return model.model_validate(raw)
    except SchemaError as error:
        raise misfit(error.errors(include_url=False, include_context=False)) from error


def misfit(errors: Sequence[Any]) -> AppError:
    """The `AppError` of a schema's complaints; `unknown_field` if that is among them."""
    faults = [_described(error) for error in errors]
    unknown = [f for f, error in zip(faults, errors, strict=True) if _is_extra(error)]
    first = (unknown or faults)[0]
    return AppError(
        Code.UNKNOWN_FIELD if unknown else Code.INVALID_INPUT,
        f"{first['pointer'] or 'The ' + first['in']}: {first['message']}.",
        hint="Compare the request with the published schema.",
        details={"pointer": first["pointer"], "errors": faults[:20]},
    )


def _is_extra(error: Any) -> bool:
    return error["type"] in _EXTRA


def _described(error: Any) -> dict[str, str]:
    path = list(error["loc"])
    place = path.pop(0) if path and path[0] in _PLACES else "body"
    if error["type"] == "json_invalid":
        return {"in": place, "pointer": "", "message": f"not JSON at character {path[0]}"}
    return {"in": place, "pointer": pointer(path), "message": _said(error)}


def _said(error: Any) -> str:
    if _is_extra(error):
        return "unknown field"
    if error["type"] in _NO_OBJECT:
        return "this must be a JSON object"
    # The words of our own checks.
    return str(error["msg"]).removeprefix("Value error, ")


def _storable_text(text: str) -> str:
    if (why := text_fault(text)) is not None:
        raise _refuse((), why)
    return text


Text = Annotated[str, AfterValidator(_storable_text)]
FileName = Annotated[Text, StringConstraints(min_length=1, max_length=1000)]
IdempotencyKey = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,200}$")]
