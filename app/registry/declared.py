"""What a tool says of itself to this platform, in its definition's `_meta`.

So it is pinned, compared and approved with the definition. What has another form than the one
described here counts as not said.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

CACHE_TTL, CACHE_SCOPE, ERRORS = "uaol/cache_ttl", "uaol/cache_scope", "uaol/errors"
_LONGEST_S = 86_400.0


class Declared(NamedTuple):
    """`cache_ttl_s`: how long an answer to the same arguments holds; 0 is not at all.

    It holds for the same user, with `is_public` for everybody. `is_error_charged`: the tool's own
    refusals cost what answers cost.
    """

    cache_ttl_s: float = 0.0
    is_public: bool = False
    is_error_charged: bool = False

    def as_meta(self) -> dict[str, Any]:
        """What lists show of it."""
        shown: dict[str, Any] = {}
        if self.cache_ttl_s:
            scope = "public" if self.is_public else "private"
            shown = {CACHE_TTL: self.cache_ttl_s, CACHE_SCOPE: scope}
        return shown | ({ERRORS: "charged"} if self.is_error_charged else {})


def declared(meta: Any) -> Declared:
    """What a definition's `_meta` declares."""
    if not isinstance(meta, Mapping):
        return Declared()
    return Declared(
        _seconds(meta.get(CACHE_TTL)),
        meta.get(CACHE_SCOPE) == "public",
        meta.get(ERRORS) == "charged",
    )


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        return 0.0
    return min(float(value), _LONGEST_S)
