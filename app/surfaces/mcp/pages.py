"""Pages of lists (2026-07-28, "Pagination"): cursors that stay good while lists change.

A cursor is the key of the last item shown, not a number: an item that comes or goes between two
pages neither hides nor repeats another one.
"""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from bisect import bisect_right
from collections.abc import Sequence
from operator import itemgetter
from typing import TypeVar

from app.kernel.errors import AppError, Code

ItemT = TypeVar("ItemT")


def page_of(
    kind: str, items: Sequence[tuple[str, ItemT]], cursor: str | None, size: int
) -> tuple[list[ItemT], str | None]:
    """At most `size` items after the cursor, and the cursor of the next page if there is one.

    `items` are sorted by their keys. Raises `invalid_input` for a cursor of no page of this kind.
    """
    start = 0
    if cursor is not None:
        start = bisect_right(items, _key_of(kind, cursor), key=itemgetter(0))
    shown = items[start : start + size]
    is_last = start + size >= len(items)
    following = None if is_last else _cursor_of(kind, shown[-1][0])
    return [item for _, item in shown], following


def _cursor_of(kind: str, key: str) -> str:
    return urlsafe_b64encode(f"{kind}:{key}".encode()).decode()


def _key_of(kind: str, cursor: str) -> str:
    try:
        found, _, key = urlsafe_b64decode(cursor.encode()).decode().partition(":")
    except (binascii.Error, ValueError):
        found, key = "", ""
    if found != kind or not key:
        raise AppError(
            Code.INVALID_INPUT,
            "This is not a cursor of an earlier page.",
            hint="Give `nextCursor` of the page before, or no cursor for the first one.",
        )
    return key
