"""What a scan of tool definitions finds; the scanner itself is handed to the registry."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from app.kernel.errors import AppError, Code
from app.registry.types import ToolDefinition

SHOWN = 20


class Finding(NamedTuple):
    """One reason not to approve a definition.

    `rule` is the rule's stable name, `where` a JSON pointer into the definition, `excerpt` what
    stands there with unprintable characters made visible, `why` a sentence for people.
    """

    rule: str
    where: str
    excerpt: str
    why: str


Scan = Callable[[ToolDefinition], Sequence[Finding]]


def no_scan(_definition: ToolDefinition) -> Sequence[Finding]:
    """Finds nothing: for a registry without a scanner."""
    return ()


def scanned(scan: Scan, definitions: Sequence[ToolDefinition]) -> list[dict[str, Any]]:
    """The findings of all definitions in their JSON form, each with its tool."""
    return [
        {"tool": definition.name, **finding._asdict()}
        for definition in definitions
        for finding in scan(definition)
    ]


def refuse_findings(found: Sequence[dict[str, Any]], what: str) -> None:
    """Raise `tool_definition_refused` with the findings, if there are any."""
    if not found:
        return
    first = found[0]
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    raise AppError(
        Code.TOOL_DEFINITION_REFUSED,
        f"{what} is not approved: {first['tool']} {first['where']}: {first['why']}{more}",
        hint="Correct the server's tool definitions and submit a new version.",
        details={"findings": list(found[:SHOWN])},
    )
