"""An echoed secret does not get back, in whatever form software writes it down."""

import base64
import html
import json
import logging
from urllib.parse import quote, quote_plus, urlencode

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.kernel.errors import AppError, Code
from app.kernel.scrub import HIDDEN, Recent, Scrubber, injected
from app.kernel.telemetry import JsonFormatter

SECRET = 'tok/en+with"odd\\chars&<more>='
PLAIN = "canary-0123456789"
PRINTABLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=6, max_size=40)


def _lower(text: str) -> str:
    return quote(text, safe="").replace("%2F", "%2f").replace("%2B", "%2b").replace("%5C", "%5c")


@pytest.mark.parametrize("secret", [SECRET, PLAIN])
@pytest.mark.parametrize(
    "write",
    [
        str,
        lambda s: json.dumps({"echo": s}),
        lambda s: json.dumps({"text": json.dumps({"echo": s})}),
        lambda s: json.dumps({"text": json.dumps({"echo": s}).replace("/", "\\/")}),
        lambda s: json.dumps(json.dumps(json.dumps([s]))),
        lambda s: base64.b64encode(s.encode()).decode(),
        lambda s: base64.urlsafe_b64encode(s.encode()).decode().rstrip("="),
        lambda s: base64.b64encode(f"Authorization: Bearer {s}\r\n".encode()).decode(),
        lambda s: base64.b64encode(f"user:{s}".encode()).decode(),
        lambda s: base64.b64encode(f"me:{s}x".encode()).decode(),
        lambda s: quote(s, safe=""),
        quote,
        quote_plus,
        lambda s: urlencode({"token": s}),
        lambda s: quote(quote(s, safe=""), safe=""),
        html.escape,
        lambda s: s.encode().hex(),
        lambda s: s.encode().hex().upper(),
    ],
)
def test_every_form_is_hidden(secret: str, write: "object") -> None:
    assert callable(write)
    written = f"before {write(secret)} after"
    clean = Scrubber([f"Bearer {secret}"]).text(written)
    assert HIDDEN in clean
    assert clean.startswith("before ")
    assert clean.endswith(" after")
    for part in (secret, write(secret)):
        assert part not in clean
    assert secret.encode() not in _all_base64(clean)


def _all_base64(text: str) -> bytes:
    """Whatever could still be decoded of the pieces around the hidden ones."""
    found = b""
    for word in text.replace(HIDDEN, " ").split():
        padded = word + "=" * (-len(word) % 4)
        try:
            found += base64.b64decode(padded, validate=True)
        except ValueError:
            continue
    return found


@given(secret=PRINTABLE, before=st.text(max_size=12), after=st.text(max_size=12))
def test_json_stays_json_and_loses_the_secret(secret: str, before: str, after: str) -> None:
    raw = orjson.dumps({"a": [before + secret + after], "n": 1})
    clean = Scrubber([secret]).bytes(raw)
    value = orjson.loads(clean)
    assert secret not in value["a"][0]
    assert value["n"] == 1 or secret in '"n":1'


@given(secret=PRINTABLE, offset=st.binary(max_size=5), tail=st.binary(max_size=5))
def test_base64_at_any_offset_is_hidden(secret: str, offset: bytes, tail: bytes) -> None:
    coded = base64.b64encode(offset + secret.encode() + tail).decode()
    assert HIDDEN in Scrubber([secret]).text(coded)


@pytest.mark.parametrize(
    "secret", ["nabcdef", "u0041bc", '"quoted"', "back\\slash\\", "\\\\\\\\\\\\"]
)
def test_a_match_that_begins_within_an_escape_leaves_json(secret: str) -> None:
    raw = orjson.dumps({"text": "\nabcdef and \\u0041bc", "echo": secret})
    value = orjson.loads(Scrubber([secret]).bytes(raw))
    assert value["echo"] == HIDDEN


def test_characters_spelt_as_unicode_escapes_are_found() -> None:
    spelt = "".join(f"\\u{ord(char):04x}" for char in PLAIN)
    raw = f'{{"echo": "{spelt}", "tab": "\\u0009"}}'.encode()
    assert orjson.loads(raw)["echo"] == PLAIN
    assert orjson.loads(Scrubber([PLAIN]).bytes(raw)) == {"echo": HIDDEN, "tab": "\t"}


def test_what_holds_no_secret_is_not_touched_at_all() -> None:
    raw = b'{"spaced" : 1.0, "tab": "\\u0009"}'
    assert Scrubber([PLAIN]).bytes(raw) is raw
    assert Scrubber().bytes(raw) is raw
    assert not Scrubber(["short"])


def test_names_of_fields_and_deep_values_are_hidden() -> None:
    deep: object = PLAIN
    for _ in range(300):
        deep = [deep]
    clean = Scrubber([PLAIN]).value({PLAIN: 1, "deep": deep, "n": None})
    assert PLAIN not in str(clean)
    assert clean[HIDDEN] == 1
    assert clean["n"] is None


def test_an_error_loses_it_everywhere() -> None:
    error = AppError(
        Code.TOOL_FAILED, f"no {PLAIN}", hint=f"use {PLAIN}", details={"sent": [PLAIN]}
    )
    clean = Scrubber([PLAIN]).error(error)
    assert PLAIN not in str(clean.as_dict())
    assert clean.code is Code.TOOL_FAILED


def test_logs_lose_what_was_injected_last() -> None:
    injected.add([PLAIN])
    record = logging.LogRecord("x", logging.INFO, "f", 1, "sent %s", (PLAIN,), None)
    record.body = {"echo": base64.b64encode(PLAIN.encode()).decode()}
    line = JsonFormatter().format(record)
    assert PLAIN not in line
    assert base64.b64encode(PLAIN.encode()).decode() not in line


def test_only_the_last_values_are_remembered() -> None:
    recent = Recent(most=2)
    recent.add(["first-secret", "second-secret", "third-secret", "second-secret"])
    assert recent.text("first-secret second-secret third-secret") == "first-secret *** ***"
