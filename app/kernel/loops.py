"""Requests that come back: this gateway as a server of its own, straight or by way of others.

No check of an address finds that: hosts have many names, and other servers pass requests on. So
every request to a remote server says by which gateways it came (`Via`, RFC 9110, section 7.6.3),
and one that came by this installation already is refused.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from contextvars import ContextVar
from functools import cache

from app.kernel.errors import AppError, Code

HEADER = "via"
MARK = "uaol-"
# Other installations may pass on to each other, but not for ever.
_MOST = 4
_random = secrets.token_bytes(16)
_key: Callable[[], bytes] = lambda: _random  # noqa: E731 - replaced by `known_by`
_came_by: ContextVar[tuple[str, ...]] = ContextVar("came_by", default=())


def known_by(key: Callable[[], bytes]) -> None:
    """Name this installation after a secret that all its processes share."""
    global _key
    _key = key
    own_name.cache_clear()


@cache
def own_name() -> str:
    """What this installation calls itself in `Via`; it tells nothing of the secret."""
    return MARK + hmac.digest(_key(), b"via", hashlib.sha256)[:8].hex()


def check(via: str) -> None:
    """Note by which gateways a request came. Raises `loop_detected` if by this one, or too many."""
    # A protocol, a name, perhaps a comment.
    parts = (each.split() for each in via.split(","))
    names = tuple(part[1] for part in parts if len(part) > 1 and part[1].startswith(MARK))
    if own_name() in names or len(names) >= _MOST:
        raise AppError(
            Code.LOOP_DETECTED,
            "The request came from this gateway, or through too many.",
            hint="A server's URL leads back here; register the address of the server itself.",
        )
    _came_by.set(names)


def via() -> str:
    """The value of `Via` for a request that leaves now."""
    if not _came_by.get():
        return f"1.1 {own_name()}"
    return ", ".join([f"1.1 {name}" for name in (*_came_by.get(), own_name())])
