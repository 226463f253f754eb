"""Reads server-sent events as they come in, piece by piece, with a cap on one event's size.

After the WHATWG HTML standard, section 9.2.6; fields are kept as bytes, so that an event can be
passed on as it came.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

_ENDS = re.compile(rb"\r\n|\n|\r")
_MARK = b"\xef\xbb\xbf"


class EventTooLargeError(Exception):
    """An event passed the cap before it ended."""


class Event(NamedTuple):
    """One event; `data` may be empty where only an id or a pause is told."""

    data: bytes
    kind: bytes = b"message"
    id: bytes | None = None
    retry: bytes | None = None

    def encode(self) -> bytes:
        """The event on the wire."""
        lines = [b"event: " + self.kind]
        if self.id is not None:
            lines.append(b"id: " + self.id)
        if self.retry is not None:
            lines.append(b"retry: " + self.retry)
        lines += [b"data: " + line for line in self.data.split(b"\n")]
        return b"\r\n".join(lines) + b"\r\n\r\n"


class EventReader:
    """Turns chunks of a stream into events; keeps never more than `limit` bytes and one chunk."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._line: list[bytes] = []
        self._data: list[bytes] = []
        self._kind = b""
        self._id: bytes | None = None
        self._retry: bytes | None = None
        self._size = 0
        self._is_after_return = False
        self._is_first = True

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that end in this chunk; `EventTooLargeError` comes after those before it."""
        if self._is_first:
            self._is_first = False
            chunk = chunk.removeprefix(_MARK)
        if not chunk:
            return
        ends_in_return = chunk.endswith(b"\r")
        if self._is_after_return:
            # The second half of a line end that fell between two chunks.
            chunk = chunk.removeprefix(b"\n")
        self._is_after_return = ends_in_return
        *lines, rest = _ENDS.split(chunk)
        for line in lines:
            self._keep(line)
            whole = b"".join(self._line)
            self._line.clear()
            if (event := self._read(whole)) is not None:
                yield event
        self._keep(rest)

    def _keep(self, part: bytes) -> None:
        if part:
            self._line.append(part)
            self._size += len(part)
            if self._size > self._limit:
                raise EventTooLargeError

    def _read(self, line: bytes) -> Event | None:
        if not line:
            return self._finish()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"data":
                self._data.append(value)
            case b"event":
                self._kind = value
            case b"id" if b"\0" not in value:
                self._id = value
            case b"retry" if value.isdigit():
                self._retry = value
            case _:
                # A comment or an unknown field counts for nothing, not even towards the cap.
                self._size -= len(line)
        return None

    def _finish(self) -> Event | None:
        has_any = bool(self._data) or self._id is not None or self._retry is not None
        event = Event(b"\n".join(self._data), self._kind or b"message", self._id, self._retry)
        self._clear()
        return event if has_any else None

    def _clear(self) -> None:
        self._data, self._kind = [], b""
        self._id = self._retry = None
        self._size = 0
