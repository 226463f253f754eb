"""Bad input is refused with a stable code and a pointer to the place."""

from typing import Any
from uuid import UUID

import pytest

from app.agents import Templates
from app.kernel.errors import AppError, Code

RECORD = str(UUID(int=1))
OTHER = str(UUID(int=2))
BAD = [
    ({}, Code.INVALID_INPUT, "/record"),
    ({"record": "../etc/passwd"}, Code.INVALID_INPUT, "/record"),
    ({"record": 7}, Code.INVALID_INPUT, "/record"),
    ({"record": RECORD, "guides": 0}, Code.INVALID_INPUT, "/guides"),
    ({"record": RECORD, "guides": "many"}, Code.INVALID_INPUT, "/guides"),
    ({"record": RECORD, "backgrounds": [OTHER] * 9}, Code.INVALID_INPUT, "/backgrounds"),
    ({"record": RECORD, "backgrounds": [OTHER, "x"]}, Code.INVALID_INPUT, "/backgrounds/1"),
    ({"record": RECORD, "pam": "NNG"}, Code.INVALID_INPUT, "/pam"),
    ({"record": RECORD, "vector": "pUC19"}, Code.INVALID_INPUT, "/vector"),
    ({"record": RECORD, "max_mismatches": 5}, Code.INVALID_INPUT, "/max_mismatches"),
    ({"record": RECORD, "off_target_pams": ["NAG"]}, Code.INVALID_INPUT, ""),
    ({"record": RECORD, "window_min": 0.7}, Code.INVALID_INPUT, ""),
    ({"record": RECORD, "a/b~c": 1}, Code.UNKNOWN_FIELD, "/a~1b~0c"),
]


@pytest.mark.parametrize(("raw", "code", "pointer"), BAD)
def test_bad_input_has_its_code_and_place(raw: dict[str, Any], code: Code, pointer: str) -> None:
    with pytest.raises(AppError) as caught:
        Templates().get("crispr_knockout").validate(raw)
    assert caught.value.code is code
    assert caught.value.details["errors"][0]["pointer"] == pointer
    assert caught.value.hint


def test_defaults_are_written_out_and_repeats_are_dropped() -> None:
    template = Templates().get("crispr_knockout")
    raw = {"record": RECORD.upper(), "backgrounds": [OTHER, RECORD, OTHER]}
    given = template.validate(raw)
    assert given["record"] == RECORD
    assert given["backgrounds"] == [OTHER]
    assert (given["guides"], given["vector"], given["pam"]) == (4, "pX330", "NGG")
    assert template.validate(given) == given


def test_the_schema_says_which_fields_are_files() -> None:
    schema = Templates().get("crispr_knockout").input_schema()
    assert schema["properties"]["record"]["format"] == "file"
    assert schema["properties"]["backgrounds"]["items"]["format"] == "file"
    assert schema["additionalProperties"] is False


def test_an_unknown_template_lists_those_there_are() -> None:
    with pytest.raises(AppError) as caught:
        Templates().get("crispr_knockin")
    assert caught.value.code is Code.TEMPLATE_UNKNOWN
    assert "crispr_knockout" in (caught.value.hint or "")


def test_the_knockout_costs_five_credits() -> None:
    [template] = Templates().all()
    assert (template.name, template.price_micro) == ("crispr_knockout", 5_000_000)
