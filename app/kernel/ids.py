"""Identifiers: UUID version 7 (RFC 9562, section 5.7), in order of creation within a process."""

import os
import time
from threading import Lock
from uuid import UUID

_VERSION_7 = 0x7 << 76
_VARIANT = 0x2 << 62
_COUNTER_BITS = 12


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


_sequence = _Sequence()


def new_id() -> UUID:
    """A UUIDv7: milliseconds and counter, then 62 random bits; each is above the one before."""
    moment = _sequence.next()
    millis, count = moment >> _COUNTER_BITS, moment & ((1 << _COUNTER_BITS) - 1)
    low = int.from_bytes(os.urandom(8), "big") >> 2
    return UUID(int=(millis << 80) | _VERSION_7 | (count << 64) | _VARIANT | low)
