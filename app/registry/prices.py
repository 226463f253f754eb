"""Prices in `mcp_config.yaml`: credits with at most six places, kept as whole micro-credits."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from app.registry.readers import refuse
from app.registry.types import Prices

MICRO = 1_000_000
MAX_CREDITS = 1_000_000
_PLACES = 6
_LONGEST = 20
_OTHERS = "*"


def read_price(raw: Any, key: str) -> Prices:
    """A number for every tool of a server, or a mapping from tool to number (`*`: all others).

    A server without a price is free, as Biomni's configurations know none.
    """
    if raw is None:
        return Prices()
    if not isinstance(raw, Mapping):
        return Prices(default_micro=_micro(raw, key))
    by_tool = {}
    for tool, value in raw.items():
        if not isinstance(tool, str):
            refuse(key, "has a tool name that is not a string")
        by_tool[tool] = _micro(value, f"{key}.{tool}")
    return Prices(default_micro=by_tool.pop(_OTHERS, 0), by_tool=by_tool)


def _micro(raw: Any, key: str) -> int:
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        refuse(key, "must be a number of credits")
    if isinstance(raw, str) and len(raw) > _LONGEST:
        refuse(key, "must be a number of credits")
    try:
        # The shortest decimal that gives the float is the one that was written.
        amount = Decimal(str(raw))
    except (InvalidOperation, ValueError):
        refuse(key, "must be a number of credits")
    if not amount.is_finite() or not 0 <= amount <= MAX_CREDITS:
        refuse(key, f"must be between 0 and {MAX_CREDITS} credits")
    # No rounding: an amount in range has fewer digits than the context keeps.
    micro = int(amount.scaleb(_PLACES)) if amount.adjusted() >= -_PLACES else 0
    if Decimal(micro) != amount.scaleb(_PLACES):
        refuse(key, "has more than six decimal places")
    return micro
