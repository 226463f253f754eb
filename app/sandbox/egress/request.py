"""Reads what a client asks of the proxy, strictly: whatever two parsers could read in two ways
is refused (RFC 9110, section 5; RFC 9112, sections 2, 3, 5, 6 and 11). Pure.
"""

import re
from dataclasses import dataclass

from app.kernel.egress import literal_of
from app.sandbox.egress.answers import RefusedError
from app.sandbox.egress.policies import is_host

MAX_HEAD = 2**14
_MAX_FIELDS = 100
_METHODS = frozenset({"CONNECT", "GET", "HEAD", "POST"})
_LINE = re.compile(r"([A-Z]{1,16}) ([\x21-\x7e]{1,8192}) HTTP/1\.([01])")
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\x20-\x7e\x80-\xff\t]*)")
_AUTHORITY = re.compile(r"(\[[^\]]*\]|[^:\[\]@]+)(?::([1-9][0-9]{0,4}))?")
_URL = re.compile(r"(?i:http)://([^/?#]*)(/[^#]*|\?[^#]*|)")
_LENGTH = re.compile(r"[0-9]{1,15}")
# Of one connection only (RFC 9110, section 7.6.1), or set anew here.
_DROPPED = frozenset(
    {
        "connection", "proxy-connection", "keep-alive", "proxy-authorization", "te", "trailer",
        "upgrade", "http2-settings", "host", "content-length", "transfer-encoding",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Request:
    """A request to the proxy: `path` is empty for CONNECT, `length` None for a chunked body."""

    method: str
    host: str
    port: int
    path: str = ""
    fields: tuple[tuple[str, str], ...] = ()
    length: int | None = 0

    @property
    def is_tunnel(self) -> bool:
        """Whether it asks for a tunnel."""
        return self.method == "CONNECT"

    def head(self) -> bytes:
        """The head of the one request that goes upstream in its place."""
        host = self.host if self.port == 80 else f"{self.host}:{self.port}"
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {host}", "Connection: close"]
        if self.length is None:
            lines.append("Transfer-Encoding: chunked")
        elif self.length or self.method == "POST":
            lines.append(f"Content-Length: {self.length}")
        lines += [f"{name}: {value}" for name, value in self.fields]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


def parse_request(head: bytes) -> Request:
    """The request in a head that ends with an empty line.

    Raises RefusedError: malformed, address, host_mismatch.
    """
    lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    method, target, version = _request_line(lines[0])
    fields = _fields(lines[1:])
    host, port, path = _tunnel(target) if method == "CONNECT" else _absolute(target)
    _check_host(_only(fields, "host"), host, port, is_tunnel=method == "CONNECT")
    length = _body_length(fields, version)
    if method == "CONNECT":
        if length != 0:
            raise _malformed("CONNECT has no body")
        return Request(method, host, port)
    if version != "1":
        raise _malformed("HTTP/1.1 is needed")
    return Request(method, host, port, path, _kept(fields), length)


def _malformed(why: str) -> RefusedError:
    return RefusedError("malformed", f"Malformed request: {why}")


def _request_line(line: str) -> tuple[str, str, str]:
    found = _LINE.fullmatch(line)
    if not found:
        raise _malformed("the request line")
    method, target, version = found.groups()
    if method not in _METHODS:
        raise _malformed(f"the method {method} is not taken")
    return method, target, version


def _fields(lines: list[str]) -> list[tuple[str, str]]:
    if len(lines) > _MAX_FIELDS:
        raise _malformed(f"more than {_MAX_FIELDS} header fields")
    fields = []
    for line in lines:
        found = _FIELD.fullmatch(line)
        if not found:
            raise _malformed("a header field")
        fields.append((found[1], found[2].strip(" \t")))
    return fields


def _only(fields: list[tuple[str, str]], name: str) -> str | None:
    values = [value for key, value in fields if key.lower() == name]
    if len(values) > 1:
        raise _malformed(f"{name} is given twice")
    return values[0] if values else None


def _tunnel(target: str) -> tuple[str, int, str]:
    host, port = _authority(target)
    if port is None:
        raise _malformed("CONNECT needs host:port")
    return host, port, ""


def _absolute(target: str) -> tuple[str, int, str]:
    found = _URL.fullmatch(target)
    if not found:
        raise _malformed("the target must be http://host/path; https goes through CONNECT")
    host, port = _authority(found[1])
    path = found[2] if found[2].startswith("/") else f"/{found[2]}"
    return host, port or 80, path


def _authority(text: str) -> tuple[str, int | None]:
    """Host in lower case and port, if given."""
    found = _AUTHORITY.fullmatch(text)
    if not found:
        raise _malformed("the target's host and port")
    host, port = found[1].lower(), int(found[2]) if found[2] else None
    if host.startswith("[") or literal_of(host) is not None or host.rpartition(".")[2].isdigit():
        raise RefusedError("address", "Addresses are not allowed, only names", host, port or 0)
    if not is_host(host):
        raise _malformed("the target's host is no full host name")
    if port is not None and port > 65535:
        raise _malformed("the target's port")
    return host, port


def _check_host(given: str | None, host: str, port: int, *, is_tunnel: bool) -> None:
    """The Host field must say what the target says; older clients send none with CONNECT."""
    if given is None:
        if not is_tunnel:
            raise _malformed("Host is missing")
        return
    names = {f"{host}:{port}"} | ({host} if is_tunnel or port == 80 else set())
    if given.lower() not in names:
        raise RefusedError("host_mismatch", f"Host is not the target {host}:{port}", host, port)


def _body_length(fields: list[tuple[str, str]], version: str) -> int | None:
    length, coding = _only(fields, "content-length"), _only(fields, "transfer-encoding")
    if coding is not None:
        if length is not None or version != "1" or coding.lower() != "chunked":
            raise _malformed("the length of the body is not certain")
        return None
    if length is None:
        return 0
    if not _LENGTH.fullmatch(length):
        raise _malformed("Content-Length")
    return int(length)


def _kept(fields: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    named = {
        name.strip().lower()
        for key, value in fields
        if key.lower() in ("connection", "proxy-connection")
        for name in value.split(",")
    }
    dropped = _DROPPED | named
    return tuple((key, value) for key, value in fields if key.lower() not in dropped)
