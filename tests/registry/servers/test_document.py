"""What a server.json may say, and what becomes of it."""

from typing import Any

import pytest

from app.kernel.errors import AppError, Code
from app.registry import Reader, Setup, check_document
from tests.registry.servers.documents import BAD, GOOD, SIMPLE, changed, simple

TENANT = Setup({"tenant": "t-1"})


def refused(document: dict[str, Any], setup: Setup = TENANT, **options: Any) -> AppError:
    try:
        check_document(document)
        address = Reader(**options).read(document, setup)
    except AppError as error:
        return error
    raise AssertionError(f"it was taken: {address}")


@pytest.mark.parametrize("revision", ["2025-09-29", "2025-10-17", "2025-12-11"])
def test_a_full_document_is_taken(revision: str) -> None:
    schema = f"https://static.modelcontextprotocol.io/schemas/{revision}/server.schema.json"
    check_document(GOOD | {"$schema": schema})
    check_document(SIMPLE)


@pytest.mark.parametrize(("pointer", "value", "where", "code"), BAD)
def test_a_bad_one_is_refused_with_a_pointer(
    pointer: str, value: Any, where: str, code: str
) -> None:
    error = refused(changed(GOOD, pointer, value))
    assert (error.code.value, error.details["pointer"]) == (code, where)
    assert error.hint


def test_the_streamable_remote_is_taken_and_its_template_filled() -> None:
    address = Reader().read(GOOD, TENANT)
    assert address.url == "https://eu.weather.example.org/t-1/mcp"
    assert (address.transport, dict(address.headers)) == ("streamable-http", {"X-Units": "si"})
    (header,) = address.needs
    assert (header.header, header.template, header.scope) == (
        "Authorization",
        "Bearer {token}",
        "user",
    )
    other = Setup({"tenant": "t-2", "region": "us", "X-Optional": "yes"}, secret_scope="developer")
    address = Reader().read(GOOD, other)
    assert address.url == "https://us.weather.example.org/t-2/mcp"
    assert dict(address.headers) == {"X-Units": "si", "X-Optional": "yes"}
    assert address.needs[0].scope == "developer"


def test_a_server_with_sse_alone_is_taken_so() -> None:
    document = SIMPLE | {"remotes": [GOOD["remotes"][0]]}
    assert Reader().read(document, Setup()).transport == "sse"


@pytest.mark.parametrize(
    ("values", "where", "code"),
    [
        ({}, "/values/tenant", Code.INVALID_INPUT),
        ({"tenant": "a/b"}, "/values/tenant", Code.INVALID_INPUT),
        ({"tenant": "a@evil.example"}, "/values/tenant", Code.INVALID_INPUT),
        ({"tenant": "a", "region": "mars"}, "/values/region", Code.INVALID_INPUT),
        ({"tenant": "a", "Authorization": "Bearer x"}, "/values/Authorization", Code.UNKNOWN_FIELD),
        ({"tenant": "a", "nothing": "x"}, "/values/nothing", Code.UNKNOWN_FIELD),
        ({"tenant": "a", "X-Units": "miles"}, "/values/X-Units", Code.INVALID_INPUT),
        (
            {"tenant": "a", "X-Optional": "a\r\nX: y"},
            "/server/remotes/1/headers/2",
            Code.INVALID_INPUT,
        ),
    ],
)
def test_values_that_do_not_fit(values: dict[str, str], where: str, code: Code) -> None:
    error = refused(GOOD, Setup(values))
    assert (error.code, error.details["pointer"]) == (code, where)


_HEADERS = "/remotes/1/headers"


@pytest.mark.parametrize(
    ("pointer", "value", "where"),
    [
        ("/remotes/1/url", "https://{who}.example.org", "/server/remotes/1/url"),
        (f"{_HEADERS}/0/value", "Bearer s3cret", f"/server{_HEADERS}/0/value"),
        (f"{_HEADERS}/0/default", "s3cret", f"/server{_HEADERS}/0/default"),
        (f"{_HEADERS}/1/name", "authorization", f"/server{_HEADERS}/1/name"),
        (f"{_HEADERS}/1/name", "Host", f"/server{_HEADERS}/1/name"),
        (f"{_HEADERS}/1/name", "Mcp-Session-Id", f"/server{_HEADERS}/1/name"),
        (f"{_HEADERS}/1/name", "Mcp-Param-Region", f"/server{_HEADERS}/1/name"),
        (f"{_HEADERS}/1/name", "Content-Encoding", f"/server{_HEADERS}/1/name"),
    ],
)
def test_remotes_that_cannot_be_used(pointer: str, value: str, where: str) -> None:
    error = refused(changed(GOOD, pointer, value))
    assert error.details["pointer"] == where
    assert "s3cret" not in str(error)


@pytest.mark.parametrize(
    "url",
    [
        "http://simple.example.org/mcp",
        "https://127.0.0.1/mcp",
        "https://2130706433/mcp",
        "https://[::1]/mcp",
        "https://169.254.169.254/latest",
        "https://[64:ff9b::7f00:1]/mcp",
        "https://user:pass@example.org/mcp",
        "https://example.org/mcp#part",
    ],
)
def test_addresses_that_no_stranger_may_name(url: str) -> None:
    error = refused(simple(url), Setup())
    assert error.details["pointer"] == "/server/remotes/0/url"


def test_a_private_address_is_open_in_development_alone() -> None:
    url = "http://127.0.0.1:8001/mcp"
    assert Reader(allow_private=True).read(simple(url), Setup()).url == url


def test_the_platform_is_no_server_of_its_own() -> None:
    own = frozenset({"gateway.example.org"})
    error = refused(simple("https://gateway.example.org/mcp"), Setup(), own=own)
    assert "own address" in error.message


def test_a_document_that_is_too_large_or_too_deep() -> None:
    deep: Any = "x"
    for _ in range(3000):
        deep = [deep]
    assert refused(SIMPLE | {"_meta": {"a": deep}}).details["pointer"] == "/server"
    big = SIMPLE | {"_meta": {"a": "x" * 300_000}}
    assert refused(big).code is Code.PAYLOAD_TOO_LARGE
