"""Names of limits: what a job counts against, and what a user calls it."""

import re
from typing import Literal
from uuid import UUID

from app.kernel.errors import AppError, Code

Scope = Literal["user", "tool", "key"]
DEFAULT = "*"
_KEY = re.compile(r"[A-Za-z0-9_.:@-]{1,128}")
_TOOL = re.compile(r"[A-Za-z0-9_.:@-]{1,200}")


def key_name(user_id: UUID, key: str) -> str:
    """The limit of a user's key; `invalid_input` for a key that cannot be one."""
    if not _KEY.fullmatch(key):
        raise AppError(
            Code.INVALID_INPUT,
            "A limit key has 1 to 128 letters, digits or `_ . : @ -`.",
            hint="Use a short name, such as the customer or the file the jobs are about.",
            details={"pointer": "/limit_key"},
        )
    return f"key:{user_id}:{key}"


def user_name(user_id: UUID) -> str:
    """The limit of all of a user's jobs."""
    return f"user:{user_id}"


def tool_name(tool: str) -> str:
    """The limit of a tool, by its full name."""
    return f"tool:{tool}"


def scope_of(name: str) -> Scope:
    """What kind of limit a name stands for."""
    scope = name.partition(":")[0]
    assert scope in ("user", "tool", "key"), name
    return scope  # type: ignore[return-value]


def owner_of(name: str) -> UUID | None:
    """Whose limit it is: a key's user; None for the platform's."""
    return UUID(name.split(":", 2)[1]) if name.startswith("key:") else None


def default_of(name: str) -> str | None:
    """The limit whose numbers apply to a name without its own; None for a default itself."""
    head = f"key:{owner_of(name)}" if name.startswith("key:") else scope_of(name)
    default = f"{head}:{DEFAULT}"
    return None if name == default else default


def shown(name: str) -> str:
    """A name as its owner writes it: without the user's id."""
    return f"key:{name.split(':', 2)[2]}" if name.startswith("key:") else name


def read(text: str, user_id: UUID) -> str:
    """The name that a user means by `key:<key>`, `user:<uuid>` or `tool:<name>`.

    `me` stands for the user's own id. Raises `invalid_input` for anything else.
    """
    scope, _, rest = text.partition(":")
    if scope == "key":
        return f"key:{user_id}:*" if rest == DEFAULT else key_name(user_id, rest)
    if scope == "tool" and (rest == DEFAULT or _TOOL.fullmatch(rest)):
        return tool_name(rest)
    if scope == "user" and (whose := _user(rest, user_id)) is not None:
        return f"user:{whose}"
    raise AppError(
        Code.INVALID_INPUT,
        f"There can be no limit of the name {text[:100]!r}.",
        hint="Use `key:<key>`, `key:*`, `tool:<full name>`, `tool:*`, `user:<id>` or `user:*`.",
        details={"pointer": "/name"},
    )


def _user(text: str, user_id: UUID) -> str | None:
    if text in (DEFAULT, "me"):
        return DEFAULT if text == DEFAULT else str(user_id)
    try:
        return str(UUID(text))
    except ValueError:
        return None
