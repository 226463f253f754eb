"""File names and media types from anywhere."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.kernel.errors import AppError, Code
from app.storage import clean_name
from app.storage.names import clean_media_type


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("report.md", "report.md"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("a/../.bashrc", "bashrc"),
        (" . .hidden.txt ", "hidden.txt"),
        ("a\r\nSet-Cookie: x", "aSet-Cookie: x"),
        ("fa\u202egnp.exe", "fagnp.exe"),
        ("e\u0301.txt", "\u00e9.txt"),
        ("HBB гены 基因.gb", "HBB гены 基因.gb"),
        ("a" * 300 + ".fasta.gz", "a" * 252 + ".gz"),
        ("基" * 100 + ".gb", "基" * 84 + ".gb"),
        ("a." + "b" * 300, "a." + "b" * 253),
        ("a" * 254 + " " + "b" * 9, "a" * 254),
    ],
)
def test_a_name_becomes_safe_to_show(name: str, expected: str) -> None:
    assert clean_name(name) == expected


@pytest.mark.parametrize("name", ["", "   ", "...", "a/", "\x00\x1b", ". .", "\u202e"])
def test_a_name_of_nothing_is_refused(name: str) -> None:
    with pytest.raises(AppError) as caught:
        clean_name(name)
    assert caught.value.code is Code.INVALID_INPUT


@given(st.text(st.characters(), max_size=400))
def test_no_name_escapes_the_rules(name: str) -> None:
    try:
        cleaned = clean_name(name)
    except AppError:
        return
    assert 0 < len(cleaned.encode()) <= 255
    assert not cleaned.startswith(".")
    assert not {"/", "\\"} & set(cleaned)
    assert not any(unicodedata.category(character) == "Cc" for character in cleaned)
    assert clean_name(cleaned) == cleaned


def test_media_types_lose_case_and_parameters() -> None:
    assert clean_media_type("Text/Plain; charset=utf-8") == "text/plain"
    assert clean_media_type("image/svg+xml") == "image/svg+xml"


@pytest.mark.parametrize("text", ["", "text", "text/", "/plain", "text/plain\r\nX: y", "a b/c"])
def test_what_is_no_media_type_is_refused(text: str) -> None:
    with pytest.raises(AppError) as caught:
        clean_media_type(text)
    assert caught.value.code is Code.INVALID_INPUT
