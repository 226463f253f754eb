"""The answer to a plain request, with the word that no second one goes over its connection."""

import asyncio
import re
from collections.abc import AsyncGenerator

from app.sandbox.egress.answers import RefusedError

_CHUNK = 2**16
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: .*)?")
# Of one connection only (RFC 9110, section 7.6.1).
_DROPPED = frozenset({b"connection", b"keep-alive", b"proxy-connection"})


async def read_answer(reader: asyncio.StreamReader, host: str) -> AsyncGenerator[bytes, None]:
    """All that the upstream sends: interim heads, the head, and the rest as it comes.

    Raises RefusedError(bad_answer) where it begins with no head of HTTP/1.
    """
    status = 100
    while status < 200:
        status, head = await _head(reader, host)
        yield head
    while data := await reader.read(_CHUNK):
        yield data


async def _head(reader: asyncio.StreamReader, host: str) -> tuple[int, bytes]:
    try:
        first, *fields = (await reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise _bad(host) from None
    found = _STATUS.fullmatch(first)
    if not found or any(line[:1] in (b" ", b"\t") for line in fields):
        raise _bad(host)
    kept = [line for line in fields if line.partition(b":")[0].strip().lower() not in _DROPPED]
    status = int(found[1])
    if status >= 200:
        kept.append(b"Connection: close")
    return status, b"\r\n".join([first, *kept, b"", b""])


def _bad(host: str) -> RefusedError:
    return RefusedError("bad_answer", f"{host} does not answer in HTTP/1")
