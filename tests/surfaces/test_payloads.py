"""What every body must keep, whichever door it came through."""

from typing import Any

import pytest
from pydantic import Field

from app.kernel.errors import AppError, Code
from app.surfaces.payloads import Payload, check_json, parse, pointer


class Body(Payload):
    name: str
    inner: dict[str, Any] = Field(default_factory=dict)


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"a": ["x", "y\x00"]}, "/a/1"),
        ({"a": "\ud800"}, "/a"),
        ({"a": {"b/c": float("nan")}}, "/a/b~1c"),
        ({"a": float("inf")}, "/a"),
        ({"a": 2**63}, "/a"),
        ({"a": {"k\x00": 1}}, "/a"),
    ],
)
def test_what_cannot_be_stored_is_refused_where_it_is(value: object, where: str) -> None:
    with pytest.raises(AppError) as caught:
        check_json(value)
    assert caught.value.code is Code.INVALID_INPUT
    assert caught.value.details["pointer"] == where


def test_nesting_is_bounded() -> None:
    value: object = 1
    for _ in range(500):
        value = [value]
    with pytest.raises(AppError, match="nested deeper"):
        check_json(value)


def test_ordinary_json_passes() -> None:
    check_json({"a": [1, -(2**63), 1.5, None, True, "naïve 🧬"], "b": {}})


def test_unknown_field_has_its_own_code() -> None:
    with pytest.raises(AppError) as caught:
        parse(Body, {"name": 5, "nome": "x"})
    assert caught.value.code is Code.UNKNOWN_FIELD
    assert caught.value.details["pointer"] == "/nome"


def test_wrong_type_names_the_place() -> None:
    with pytest.raises(AppError) as caught:
        parse(Body, {"name": 5})
    assert caught.value.code is Code.INVALID_INPUT
    assert caught.value.details["errors"][0] == {
        "in": "body",
        "pointer": "/name",
        "message": "Input should be a valid string",
    }


def test_pointer_escapes() -> None:
    assert pointer(["a/b", 0, "~"]) == "/a~1b/0/~0"
