"""What the proxy reads of a request, and all that it does not take."""

import time

import pytest

from app.sandbox.egress.answers import RefusedError
from app.sandbox.egress.request import parse_request

GET = "GET http://data.example.org/a HTTP/1.1\r\nHost: data.example.org\r\n"
SENT = "GET /a HTTP/1.1\r\nHost: data.example.org\r\nConnection: close\r\n"
HOPS = (
    "Proxy-Connection: close\r\nProxy-Authorization: Basic eDp5\r\nTE: trailers\r\nUpgrade: h2c\r\n"
)
POSTED = SENT.replace("GET", "POST")
POST = "POST http://data.example.org/a HTTP/1.1\r\nHost: data.example.org\r\n"


def parsed(text: str) -> bytes:
    return parse_request(f"{text}\r\n".encode("latin-1")).head()


def code_of(text: str) -> str:
    with pytest.raises(RefusedError) as caught:
        parse_request(f"{text}\r\n".encode("latin-1"))
    assert caught.value.why.isascii()
    assert caught.value.why.isprintable()
    return caught.value.code


@pytest.mark.parametrize(
    "text",
    [
        "CONNECT data.example.org:443 HTTP/1.1\r\nHost: data.example.org:443\r\n",
        "CONNECT data.example.org:443 HTTP/1.1\r\nHost: data.example.org\r\n",
        "CONNECT DATA.example.ORG:443 HTTP/1.1\r\nhost: Data.Example.org:443\r\n",
        "CONNECT data.example.org:443 HTTP/1.0\r\n",
        "CONNECT data.example.org:443 HTTP/1.1\r\nHost: data.example.org\r\nUser-Agent: x\r\n",
    ],
)
def test_a_tunnel(text: str) -> None:
    request = parse_request(f"{text}\r\n".encode())
    assert (request.is_tunnel, request.host, request.port) == (True, "data.example.org", 443)


@pytest.mark.parametrize(
    ("text", "head"),
    [
        (GET, f"{SENT}\r\n"),
        (
            "GET http://data.example.org:80?q=1 HTTP/1.1\r\nHost: data.example.org:80\r\n",
            "GET /?q=1 HTTP/1.1\r\nHost: data.example.org\r\nConnection: close\r\n\r\n",
        ),
        (
            "HEAD http://data.example.org:8080 HTTP/1.1\r\nHost: data.example.org:8080\r\n",
            "HEAD / HTTP/1.1\r\nHost: data.example.org:8080\r\nConnection: close\r\n\r\n",
        ),
        (
            f"{POST}Content-Length: 3\r\nAccept:  */* \r\n",
            f"{POSTED}Content-Length: 3\r\nAccept: */*\r\n\r\n",
        ),
        (
            f"{POST}Transfer-Encoding: Chunked\r\n",
            f"{POSTED}Transfer-Encoding: chunked\r\n\r\n",
        ),
        (
            f"{GET}Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\n{HOPS}X-Kept: \xe9\r\n",
            f"{SENT}X-Kept: \xe9\r\n\r\n",
        ),
    ],
)
def test_a_plain_request_is_written_anew(text: str, head: str) -> None:
    assert parsed(text) == head.encode("latin-1")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001",
        "0", "169.254.169.254", "[::1]", "[::ffff:127.0.0.1]", "[fe80::1%25eth0]", "1.2.3.4",
        "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "127.0.0.1.", "999.999.999.999", "1.2.3",
    ],
)  # fmt: skip
def test_an_address_is_refused_however_it_is_spelt(host: str) -> None:
    tunnel = code_of(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n")
    plain = code_of(f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n")
    assert {tunnel, plain} <= ({"address"} if host != "127.0.0.1." else {"address", "malformed"})


@pytest.mark.parametrize(
    "given",
    ["other.example.org", "data.example.org:444", "data.example.org.", "data.example.org:0443", ""],
)
def test_host_must_be_the_target(given: str) -> None:
    assert code_of(f"CONNECT data.example.org:443 HTTP/1.1\r\nHost: {given}\r\n") == "host_mismatch"
    assert code_of(f"GET http://data.example.org/ HTTP/1.1\r\nHost: {given}\r\n") == "host_mismatch"


def test_host_of_a_plain_request_names_a_port_that_is_not_80() -> None:
    text = "GET http://data.example.org:8080/ HTTP/1.1\r\nHost: data.example.org\r\n"
    assert code_of(text) == "host_mismatch"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\r\n" + GET,
        "CONNECT data.example.org HTTP/1.1\r\nHost: data.example.org\r\n",
        "CONNECT data.example.org:0443 HTTP/1.1\r\nHost: data.example.org\r\n",
        "CONNECT data.example.org:+443 HTTP/1.1\r\nHost: data.example.org\r\n",
        "CONNECT data.example.org:99999 HTTP/1.1\r\nHost: data.example.org\r\n",
        "CONNECT data.example.org:0 HTTP/1.1\r\nHost: data.example.org\r\n",
        "CONNECT a@data.example.org:443 HTTP/1.1\r\n",
        "CONNECT data.example.org.:443 HTTP/1.1\r\n",
        "CONNECT localhost:443 HTTP/1.1\r\n",
        "CONNECT %64ata.example.org:443 HTTP/1.1\r\n",
        "CONNECT d\xe4ta.example.org:443 HTTP/1.1\r\n",
        "CONNECT data..example.org:443 HTTP/1.1\r\n",
        f"CONNECT {'a' * 250}.org:443 HTTP/1.1\r\n",
        "CONNECT http://data.example.org/ HTTP/1.1\r\n",
        "CONNECT data.example.org:443 HTTP/1.1\r\nContent-Length: 1\r\n",
        "CONNECT data.example.org:443 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n",
        "CONNECT data.example.org:443 HTTP/2.0\r\n",
        "CONNECT  data.example.org:443 HTTP/1.1\r\n",
        "connect data.example.org:443 HTTP/1.1\r\n",
        "CONNECT data.example.org:443\r\n",
        "GET / HTTP/1.1\r\nHost: data.example.org\r\n",
        "GET https://data.example.org/ HTTP/1.1\r\nHost: data.example.org\r\n",
        "GET ftp://data.example.org/ HTTP/1.1\r\nHost: data.example.org\r\n",
        "GET http://u:p@data.example.org/ HTTP/1.1\r\nHost: data.example.org\r\n",
        "GET http://data.example.org/#a HTTP/1.1\r\nHost: data.example.org\r\n",
        "GET http://data.example.org\\@other.example.org/ HTTP/1.1\r\nHost: data.example.org\r\n",
        "GET http:data.example.org/ HTTP/1.1\r\nHost: data.example.org\r\n",
        "GET http:/// HTTP/1.1\r\nHost: data.example.org\r\n",
        "GET http://data.example.org/ HTTP/1.0\r\nHost: data.example.org\r\n",
        "GET http://data.example.org/ HTTP/1.1\r\n",
        "DELETE http://data.example.org/ HTTP/1.1\r\nHost: data.example.org\r\n",
        "TRACE http://data.example.org/ HTTP/1.1\r\nHost: data.example.org\r\n",
        f"{GET}Host: data.example.org\r\n",
        f"{GET}host: data.example.org\r\n",
        f"{GET} folded\r\n",
        f"{GET}X: 1\r\n\tfolded\r\n",
        f"{GET}X : 1\r\n",
        f"{GET}X\r\n",
        f"{GET}: 1\r\n",
        f"{GET}X: a\0b\r\n",
        f"{GET}X: a\rb\r\n",
        f"{GET}X: a\nY: b\r\n",
        f"{GET}X: \x7f\r\n",
        GET + "X: 1\r\n" * 101,
        f"GET http://data.example.org/{'a' * 8200} HTTP/1.1\r\nHost: data.example.org\r\n",
    ],
)
def test_what_is_malformed(text: str) -> None:
    assert code_of(text) == "malformed"


@pytest.mark.parametrize(
    "fields",
    [
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        "Content-Length: 3\r\nContent-Length: 3\r\n",
        "Content-Length: 3, 3\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: -3\r\n",
        "Content-Length: 0x3\r\n",
        "Content-Length: \r\n",
        "Content-Length: 1234567890123456\r\n",
        "Content-Length : 3\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: \x0bchunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
    ],
)
def test_a_body_whose_length_could_be_read_in_two_ways(fields: str) -> None:
    assert code_of(POST + fields) == "malformed"


@pytest.mark.parametrize(
    "filler", [" " * 16000, "\t " * 8000, "a" * 16000, "-" * 16000, "a." * 8000, ": " * 8000]
)
def test_no_head_takes_long_to_read(filler: str) -> None:
    began = time.process_time()
    for text in (
        f"{GET}X: {filler}\x01\r\n",
        f"{GET}{filler}\x01: x\r\n",
        f"CONNECT {filler}:443 HTTP/1.1\r\n",
        f"GET http://{filler}/ HTTP/1.1\r\nHost: x\r\n",
    ):
        with pytest.raises(RefusedError):
            parse_request(f"{text}\r\n".encode())
    # Quadratic time would be seconds.
    assert time.process_time() - began < 1
