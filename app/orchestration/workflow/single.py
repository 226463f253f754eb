"""The fast case: a workflow that is one tool call and nothing else needs no plan."""

import re
from collections.abc import Mapping
from typing import Any

from app.orchestration.workflow.definition import NAME_PATTERN

_NAME = re.compile(NAME_PATTERN)


def single_tool(definition: Mapping[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """(tool, arguments) of a definition that is one plain tool call, else None.

    Plain means that there is no expression and no option: nothing but the tool and its
    arguments. Such a definition is valid as it stands if the tool exists.
    """
    if len(definition) != 2 or definition.get("workflow") != 1:
        return None
    nodes = definition.get("nodes")
    if not isinstance(nodes, dict) or len(nodes) != 1:
        return None
    ((name, node),) = nodes.items()
    if not isinstance(node, dict) or not _NAME.fullmatch(name):
        return None
    tool, arguments = node.get("tool"), node.get("arguments", {})
    if len(node) != 1 + ("arguments" in node) or not isinstance(tool, str):
        return None
    if not 0 < len(tool) <= 200 or not isinstance(arguments, dict) or _has_expression(arguments):
        return None
    return tool, arguments


def _has_expression(value: dict[str, Any]) -> bool:
    stack: list[Any] = list(value.values())
    while stack:
        one = stack.pop()
        if isinstance(one, str):
            if "${{" in one:
                return True
        elif isinstance(one, dict):
            stack.extend(one.values())
        elif isinstance(one, list):
            stack.extend(one)
    return False
