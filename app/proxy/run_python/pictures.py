"""Which of a task's pictures a client is shown: of a known kind, and not larger than can be drawn.

A picture of few bytes may claim any number of pixels, which whoever draws it would have to hold.
"""

import base64
from typing import Any

from app.sandbox import TaskResult

_SHOWN = 20
_MOST_PIXELS_ASIDE = 8000
_HEAD_BYTES = 4096
_PROLOG, _PROLOG_PARTS = ((b"<?", b"?>"), (b"<!--", b"-->"), (b"<!DOCTYPE", b">")), 4
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
# Start of frame, of whatever coding (ITU-T T.81, table B.1): DHT, JPG and DAC lie in between.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MOST_SEGMENTS = 1000


def pictures(result: TaskResult, room: int) -> list[dict[str, Any]]:
    """The shown ones as MCP's image content, of at most `room` bytes together."""
    shown: list[dict[str, Any]] = []
    by_name = {file.name: file for file in result.files}
    for file in (by_name[name] for name in result.plots if name in by_name):
        media_type = picture_type(file.content)
        if media_type is None or file.size > room or len(shown) == _SHOWN:
            continue
        room -= file.size
        data = base64.b64encode(file.content).decode()
        shown.append({"type": "image", "data": data, "mimeType": media_type})
    return shown


def picture_type(data: bytes) -> str | None:
    """The media type of a picture a client can show; None for what is none, or too large."""
    if data.startswith(_PNG):
        return "image/png" if _is_drawable(_png_size(data)) else None
    if data.startswith(_JPEG):
        return "image/jpeg" if _is_drawable(_jpeg_size(data)) else None
    return "image/svg+xml" if _is_svg(data[:_HEAD_BYTES]) else None


def _is_drawable(size: tuple[int, int]) -> bool:
    return min(size) > 0 and max(size) <= _MOST_PIXELS_ASIDE


def _png_size(data: bytes) -> tuple[int, int]:
    """Width and height; zeros where the first chunk is not what it must be."""
    if data[12:16] != b"IHDR" or len(data) < 24:
        return 0, 0
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """As `_png_size`, by the first segment that tells it."""
    at = len(_JPEG)
    for _ in range(_MOST_SEGMENTS):
        marker, length = data[at : at + 2], int.from_bytes(data[at + 2 : at + 4], "big")
        if len(marker) < 2 or marker[0] != 0xFF or length < 2:
            break
        if marker[1] in _FRAMES:
            height, width = data[at + 5 : at + 7], data[at + 7 : at + 9]
            return int.from_bytes(width, "big"), int.from_bytes(height, "big")
        at += 2 + length
    return 0, 0


def _is_svg(head: bytes) -> bool:
    """Whether the first element is `svg`, whatever stands before it (XML 1.0, section 2.8)."""
    head = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for start, end in _PROLOG * _PROLOG_PARTS:
        if head.startswith(start):
            head = head.partition(end)[2].lstrip()
    return head[:4] == b"<svg" and head[4:5] in (b" ", b"\n", b"\r", b"\t", b">", b"/")
