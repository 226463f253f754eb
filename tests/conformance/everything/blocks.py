"""Content as it is on the wire, and the smallest picture and sound that are ones."""

import base64
import struct
import zlib
from typing import Any

Wire = dict[str, Any]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png() -> bytes:
    """One red pixel (PNG, third edition, 5.6)."""
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    body = _chunk(b"IDAT", zlib.compress(b"\x00\xff\x00\x00"))
    return b"\x89PNG\r\n\x1a\n" + head + body + _chunk(b"IEND", b"")


def _wav() -> bytes:
    """Two samples of silence, mono, 8 kHz, 16 bit (RIFF WAVE)."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16)
    data = struct.pack("<4sI", b"data", 4) + bytes(4)
    return struct.pack("<4sI4s", b"RIFF", 4 + len(form) + len(data), b"WAVE") + form + data


PNG = base64.b64encode(_png()).decode()
WAV = base64.b64encode(_wav()).decode()


def text(said: str) -> Wire:
    return {"type": "text", "text": said}


def image() -> Wire:
    return {"type": "image", "data": PNG, "mimeType": "image/png"}


def audio() -> Wire:
    return {"type": "audio", "data": WAV, "mimeType": "audio/wav"}


def embedded(uri: str, media_type: str, said: str) -> Wire:
    return {"type": "resource", "resource": {"uri": uri, "mimeType": media_type, "text": said}}


def complete(*blocks: Wire, is_error: bool = False) -> Wire:
    """A tool's result."""
    return {"resultType": "complete", "content": list(blocks), "isError": is_error}


def said(*words: str) -> Wire:
    """A tool's result of one text."""
    return complete(text(" ".join(words)))
