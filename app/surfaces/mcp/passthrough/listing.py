"""A server's `tools/list` as its users may see it: approved tools only, as they were approved."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from app.kernel.principal import Principal
from app.registry import Snapshot, Tool


def approved(message: bytes, server: str, principal: Principal, snapshot: Snapshot) -> bytes:
    """The answer with the tools the principal may call, in the server's order.

    Each is shown as it stands in the registry, so that a description which changed since its
    approval reaches nobody. An answer that is no listing is passed on as it is.
    """
    try:
        answer = json.loads(message)
        listed = [dict(tool) for tool in answer["result"]["tools"]]
    except (ValueError, KeyError, TypeError, RecursionError):
        return message
    answer["result"]["tools"] = approved_tools(listed, server, principal, snapshot)
    if "cacheScope" in answer["result"]:
        # What one user may see is not for the next one's cache.
        answer["result"]["cacheScope"] = "private"
    return json.dumps(answer, separators=(",", ":"), ensure_ascii=False).encode()


def approved_tools(
    listed: Iterable[Mapping[str, Any]], server: str, principal: Principal, snapshot: Snapshot
) -> list[dict[str, Any]]:
    """The tools of a listing that the principal may call, as the registry has them."""
    known = {tool.full_name: tool for tool in snapshot.tools(principal)}
    found = [known.get(f"{server}.{tool.get('name')}") for tool in listed]
    return [shown(tool) for tool in found if tool is not None]


def shown(tool: Tool) -> dict[str, Any]:
    """A tool under its server's own name."""
    definition = tool.definition
    entry = dict(getattr(definition, "more", None) or {})
    entry |= {
        "name": definition.name,
        "description": getattr(tool, "description", definition.description),
        "inputSchema": definition.input_schema,
        "outputSchema": definition.output_schema,
        "annotations": definition.annotations,
    }
    meta = dict(entry.get("_meta") or {}) | {"uaol/price_micro": tool.price_micro}
    return {key: value for key, value in (entry | {"_meta": meta}).items() if value is not None}
