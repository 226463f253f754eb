"""Reads single values of a parsed configuration; whatever does not fit is refused with its key."""

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from app.kernel.errors import AppError, Code

_INT_LIMIT = 2**63


def refuse(key: str, problem: str) -> NoReturn:
    """Raise `config_invalid` for the value at `key`, a path such as `mcp_servers.x.env.Y`."""
    raise AppError(
        Code.CONFIG_INVALID,
        f"In the tool servers' config, {key[:200]} {problem}.",
        hint="Correct mcp_config.yaml and start again.",
        details={"key": key[:200]},
    )


def mapping(value: Any, key: str, known: frozenset[str] | None = None) -> Mapping[str, Any]:
    """A mapping with string keys, and only `known` ones where these are given; null is empty."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        refuse(key, "must be a mapping")
    for name in value:
        if not isinstance(name, str):
            refuse(key, f"has a key that is a {type(name).__name__}, not a string")
        if known is not None and name not in known:
            refuse(f"{key}.{name}", f"is unknown; known are {', '.join(sorted(known))}")
    return value


def flag(value: Any, key: str, *, default: bool) -> bool:
    """A truth value; null is the default."""
    if value is None:
        return default
    if not isinstance(value, bool):
        refuse(key, "must be true or false")
    return value


def string(value: Any, key: str) -> str:
    """A string that a process or a header can carry (no NUL, no lone surrogate)."""
    if not isinstance(value, str):
        refuse(key, "must be a string")
    if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
        refuse(key, "holds a character that cannot be used there")
    return value


def optional_string(value: Any, key: str) -> str | None:
    """A string, or None for null."""
    return None if value is None else string(value, key)


def strings(value: Any, key: str) -> Iterator[str]:
    """The strings of a list; null is empty."""
    if value is not None and not isinstance(value, list | tuple):
        refuse(key, "must be a list of strings")
    for i, item in enumerate(value or ()):
        yield string(item, f"{key}[{i}]")


def text_value(value: Any, key: str) -> str:
    """A single line; YAML's numbers are taken as they print."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if abs(value) >= _INT_LIMIT:
            refuse(key, "is too large a number; put it into quotes")
        return str(value)
    text = string(value, key)
    if "\n" in text or "\r" in text:
        refuse(key, "must be a single line")
    return text


def number(value: Any, key: str, *, most: float) -> float | None:
    """A number more than 0 and at most `most`, or None for null."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        refuse(key, f"must be a number more than 0 and at most {most:g}")
    return float(value)
