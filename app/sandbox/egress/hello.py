"""The name a TLS client asks for, read from its first message (RFC 8446, section 4.1.2).

A tunnel's TLS must name the host that was allowed. A client that hides the name (encrypted
ClientHello) is refused, since the name it shows is then not the one it asks for.
"""

import asyncio

from app.sandbox.egress.answers import RefusedError

MAX_HELLO = 2**15
_HANDSHAKE, _CLIENT_HELLO, _HOST_NAME = 22, 1, 0
_MAX_RECORD, _MAX_RECORDS = 2**14, 64
_SERVER_NAME = 0
# encrypted_client_hello (RFC 9849) and the draft before it
_HIDDEN = frozenset({0xFE0D, 0xFFCE})


class _BrokenError(Exception):
    """The bytes are no ClientHello."""


class _Bytes:
    """Bytes that are taken from the front."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def take(self, size: int) -> bytes:
        if self._at + size > len(self._data):
            raise _BrokenError
        self._at += size
        return self._data[self._at - size : self._at]

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at)

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, width: int) -> "_Bytes":
        return _Bytes(self.take(self.number(width)))


async def read_hello(reader: asyncio.StreamReader, host: str) -> bytes:
    """The client's first records, whole and unchanged, if they ask for `host` by name.

    Raises RefusedError: not_tls, name_mismatch, hidden_name; asyncio.IncompleteReadError.
    """
    records, message = [], b""
    try:
        while len(message) < 4 or len(message) < 4 + int.from_bytes(message[1:4], "big"):
            header = await reader.readexactly(5)
            body = await reader.readexactly(_record_length(header))
            records.append(header + body)
            message += body
            if message[0] != _CLIENT_HELLO or len(message) > MAX_HELLO:
                raise _BrokenError
            if len(records) > _MAX_RECORDS:
                raise _BrokenError
        name = _name_in(message)
    except _BrokenError:
        raise RefusedError("not_tls", "The tunnel does not begin with a TLS ClientHello") from None
    if name != host:
        raise RefusedError("name_mismatch", f"TLS does not ask for {host}")
    return b"".join(records)


def _record_length(header: bytes) -> int:
    length = int.from_bytes(header[3:], "big")
    if header[0] != _HANDSHAKE or header[1] != 3 or not 0 < length <= _MAX_RECORD:
        raise _BrokenError
    return length


def _name_in(message: bytes) -> str | None:
    """The host name in a whole ClientHello; None if there is none."""
    whole = _Bytes(message)
    whole.take(1)
    hello = whole.vector(3)
    if whole:
        raise _BrokenError
    hello.take(2 + 32)  # version and random
    for width in (1, 2, 1):  # session, cipher suites, compression methods
        hello.vector(width)
    extensions = _extensions(hello)
    if _HIDDEN & extensions.keys():
        raise RefusedError("hidden_name", "TLS hides the name it asks for")
    found = extensions.get(_SERVER_NAME)
    return None if found is None else _server_name(found)


def _extensions(hello: _Bytes) -> dict[int, _Bytes]:
    found: dict[int, _Bytes] = {}
    if not hello:
        return found
    listed = hello.vector(2)
    while listed:
        kind = listed.number(2)
        if kind in found:
            raise _BrokenError
        found[kind] = listed.vector(2)
    if hello:
        raise _BrokenError
    return found


def _server_name(extension: _Bytes) -> str:
    """The only entry of the extension (RFC 6066, section 3)."""
    names = extension.vector(2)
    kind, name = names.number(1), names.vector(2)
    if names or extension or kind != _HOST_NAME:
        raise _BrokenError
    try:
        return name.rest().decode("ascii").lower()
    except UnicodeDecodeError:
        raise _BrokenError from None
