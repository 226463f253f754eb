"""Identifiers: UUID version 7 (RFC 9562, section 5.7), in order of creation within a process."""

import os
import struct
import time
from threading import Lock
from uuid import UUID

_VERSION_7 = 0x7 << 76
_VARIANT = 0x2 << 62
_COUNTER_BITS = 12
_BUFFERED = 512


class _Sequence:
    """48 bits of Unix milliseconds and a 12-bit counter, as one number that only grows.

    The counter takes the place of `rand_a` (RFC 9562, section 6.2, method 1); one that runs over
    borrows from the next millisecond.
    """

    def __init__(self) -> None:
        self._last = 0
        self._lock = Lock()

    def next(self) -> int:
        """The next number."""
        now = (time.time_ns() // 1_000_000) << _COUNTER_BITS
        with self._lock:
            self._last = max(self._last + 1, now)
            return self._last


class _Random:
    """64 random bits at a time out of a buffer; a child of `fork` begins with one of its own."""

    def __init__(self) -> None:
        self._numbers: list[int] = []
        os.register_at_fork(after_in_child=self.forget)

    def forget(self) -> None:
        """Drop what is buffered."""
        self._numbers = []

    def next(self) -> int:
        """The next number."""
        try:
            return self._numbers.pop()
        except IndexError:
            numbers: list[int] = list(struct.unpack(f">{_BUFFERED}Q", os.urandom(8 * _BUFFERED)))
            number = numbers.pop()
            self._numbers = numbers
            return number


_sequence = _Sequence()
_random = _Random()


def new_id() -> UUID:
    """A UUIDv7: milliseconds and counter, then 62 random bits; each is above the one before."""
    moment = _sequence.next()
    millis, count = moment >> _COUNTER_BITS, moment & ((1 << _COUNTER_BITS) - 1)
    low = _random.next() >> 2
    return UUID(int=(millis << 80) | _VERSION_7 | (count << 64) | _VARIANT | low)
