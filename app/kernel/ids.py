"""Identifiers: UUID version 7 (RFC 9562, section 5.7), ordered by time of creation."""

import os
import time
from uuid import UUID

_VERSION_7 = 0x7 << 76
_VARIANT = 0x2 << 62


def new_id() -> UUID:
    """A UUIDv7: 48 bits of Unix milliseconds, then 74 random bits."""
    millis = time.time_ns() // 1_000_000
    entropy = int.from_bytes(os.urandom(10), "big")
    high = (entropy >> 62) & 0xFFF
    low = entropy & ((1 << 62) - 1)
    return UUID(int=(millis << 80) | _VERSION_7 | (high << 64) | _VARIANT | low)
