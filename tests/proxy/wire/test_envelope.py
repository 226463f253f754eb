import json

import pytest

from app.proxy.wire.envelope import cut, join, request, split
from app.proxy.wire.modern import header_value, with_meta

PROTOCOL = "io.modelcontextprotocol/protocolVersion"


def test_a_message_is_cut_into_its_raw_parts() -> None:
    parts = cut(b'{"jsonrpc":"2.0", "id": 7 ,"result": {"a": 1.0, "x":"\\u00e9"},"more":[1]}')
    assert parts.id == b"7"
    assert parts.result == b'{"a": 1.0, "x":"\\u00e9"}'
    assert (parts.method, parts.error, parts.is_answer) == (None, b"", True)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"[]",
        b"null",
        b'{"id":1',
        b'{"method":7}',
        b'{"result":"\xff"}',
        b'{"result":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_is_no_message_is_refused(message: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        cut(message)


def test_a_request_is_made_of_raw_parts() -> None:
    made = json.loads(request(b"5", 'a"b', b'{"x":1}'))
    assert made == {"jsonrpc": "2.0", "id": 5, "method": 'a"b', "params": {"x": 1}}


def test_of_a_key_given_twice_only_one_goes_on() -> None:
    assert join(split(b'{"name":"cheap","name":"dear"}')) == b'{"name":"dear"}'


def test_meta_is_added_where_it_is_missing_and_kept_where_it_is_not() -> None:
    added = json.loads(with_meta(b'{"name":"a","_meta":{"mine":1}}'))
    assert added["name"] == "a"
    assert added["_meta"]["mine"] == 1
    assert added["_meta"][PROTOCOL] == "2026-07-28"
    assert json.loads(with_meta(b"{}"))["_meta"][PROTOCOL] == "2026-07-28"
    whole = b'{"_meta":{"' + PROTOCOL.encode() + b'":"2026-07-28"}}'
    assert with_meta(whole) == whole
    with pytest.raises(ValueError, match="object"):
        with_meta(b"[]")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("echo", "echo"),
        ("two words", "two words"),
        (" edge", "=?base64?IGVkZ2U=?="),
        ("a\r\nCookie: b", "=?base64?YQ0KQ29va2llOiBi?="),
        ("é", "=?base64?w6k=?="),
        ("=?base64?eA==?=", "=?base64?PT9iYXNlNjQ/ZUE9PT89?="),
    ],
)
def test_any_text_fits_into_a_header(text: str, value: str) -> None:
    assert header_value(text) == value
