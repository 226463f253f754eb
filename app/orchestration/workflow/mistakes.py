"""What is wrong with a definition: each mistake has a place, a stable code and a sentence."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from app.kernel.errors import AppError, Code
from app.orchestration.workflow import limits

MistakeCode = Literal[
    "unknown_field",
    "missing_field",
    "invalid_value",
    "bad_name",
    "duplicate_name",
    "bad_expression",
    "bad_schema",
    "unknown_reference",
    "not_upstream",
    "cycle",
    "unreachable",
    "too_many_nodes",
    "too_many_steps",
    "too_deep",
    "unknown_code",
    "tool_unknown",
    "tool_disabled",
    "tool_definition_changed",
    "template_unknown",
]
"""Documented in `docs/reference/workflow.md`; a code is never renamed."""

MISTAKE_CODES: tuple[str, ...] = get_args(MistakeCode)

_HINT = "details.errors lists every mistake with its place; see docs/reference/workflow.md."


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake; `pointer` (RFC 6901) leads to it in the definition, "" is the whole."""

    pointer: str
    code: str
    message: str

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {"pointer": self.pointer, "code": self.code, "message": self.message}


def pointer_of(*parts: int | str) -> str:
    """The JSON pointer of a path."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def refusal(mistakes: Iterable[Mistake]) -> AppError:
    """The error of a definition with mistakes: `unknown_field` if there is one, else invalid.

    `details.errors` has the first hundred, unknown fields before the others they may explain.
    """
    found = sorted(mistakes, key=lambda mistake: mistake.code != "unknown_field")
    first = found[0]
    others = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    return AppError(
        Code.UNKNOWN_FIELD if first.code == "unknown_field" else Code.INVALID_INPUT,
        f"Workflow {first.pointer or '/'}: {first.message}{others}",
        hint=_HINT,
        details={"pointer": first.pointer, "errors": _shown(found), "count": len(found)},
    )


def _shown(found: Sequence[Mistake]) -> list[dict[str, Any]]:
    return [mistake.as_dict() for mistake in found[: limits.MISTAKES_SHOWN]]
