"""Files inside a task's input."""

from uuid import UUID, uuid4

import pytest

from app.kernel.errors import AppError, Code
from app.surfaces.inputs import file_ids, file_paths, prepare
from tests.surfaces.world import EchoInput

SCHEMA = EchoInput.model_json_schema()


def test_files_are_found_in_unions_and_arrays() -> None:
    value = {"text": "t", "record": "r", "more": ["a", "b"]}
    assert file_paths(SCHEMA, value) == {("record",), ("more", 0), ("more", 1)}


def test_references_are_followed() -> None:
    schema = {
        "$defs": {"F": {"type": "string", "format": "file"}},
        "properties": {"by_name": {"additionalProperties": {"$ref": "#/$defs/F"}}},
    }
    assert file_paths(schema, {"by_name": {"x": "1"}}) == {("by_name", "x")}


def test_inline_files_become_placeholders() -> None:
    raw = {"text": "t", "more": [{"text": "ACGT", "name": "a.fa"}, "given"]}
    prepared = prepare(SCHEMA, raw)
    placeholder = UUID(prepared.value["more"][0])
    assert prepared.inline[placeholder].text == "ACGT"
    assert prepared.value["more"][1] == "given"
    assert raw["more"][0] == {"text": "ACGT", "name": "a.fa"}


def test_a_wrong_inline_file_names_its_place() -> None:
    with pytest.raises(AppError) as caught:
        prepare(SCHEMA, {"record": {"text": "ACGT", "nam": "a.fa"}})
    assert caught.value.code is Code.UNKNOWN_FIELD
    assert caught.value.details["pointer"] == "/record/nam"


def test_file_ids_must_be_ids() -> None:
    given = uuid4()
    assert file_ids(SCHEMA, {"record": str(given), "more": []}) == {("record",): given}
    assert file_ids(SCHEMA, {"record": None}) == {}
    with pytest.raises(AppError) as caught:
        file_ids(SCHEMA, {"record": "../etc/passwd"})
    assert caught.value.details["pointer"] == "/record"
