"""Whether a client knows tasks, and what else it must be able to do."""

from collections.abc import Mapping
from typing import Any

from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp_types import (
    HEADER_MISMATCH,
    METHOD_NOT_FOUND,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from starlette.requests import Request

from app.surfaces.mcp.calls import Context

IDENTIFIER = "io.modelcontextprotocol/tasks"


def untold(capabilities: Mapping[str, Any]) -> dict[str, Any]:
    """A client's or server's capabilities without tasks, of either era."""
    rest = {name: value for name, value in capabilities.items() if name != "tasks"}
    if isinstance(known := rest.get("extensions"), Mapping):
        rest["extensions"] = {name: one for name, one in known.items() if name != IDENTIFIER}
    return rest


def is_modern(context: Context) -> bool:
    """Whether the request is of a revision that has extensions."""
    return context.protocol_version in MODERN_PROTOCOL_VERSIONS


def is_declared(context: Context) -> bool:
    """Whether this request's client takes a task for an answer.

    Capabilities come with every request since 2026-07-28; before that revision no wire carries
    such a result.
    """
    if not is_modern(context):
        return False
    declared = context.session.client_capabilities
    return declared is not None and IDENTIFIER in (declared.extensions or {})


def missing() -> MCPError:
    """The error for a client that does not declare the extension."""
    return MCPError(
        MISSING_REQUIRED_CLIENT_CAPABILITY,
        f"This needs the client capability {IDENTIFIER}.",
        {"requiredCapabilities": {"extensions": {IDENTIFIER: {}}}},
    )


def require(context: Context, task_id: str) -> None:
    """Let a `tasks/*` request through, or raise the protocol error that it deserves.

    `METHOD_NOT_FOUND` before 2026-07-28, `MISSING_REQUIRED_CLIENT_CAPABILITY` without the
    extension, `HEADER_MISMATCH` if `Mcp-Name` names another task.
    """
    if not is_modern(context):
        raise MCPError(METHOD_NOT_FOUND, "Method not found", context.method)
    if not is_declared(context):
        raise missing()
    request = context.request
    # On a socket it is the one that opened it: messages there have no headers of their own.
    if isinstance(request, Request) and request.method == "POST":
        named = request.headers.get(MCP_NAME_HEADER)
        if named is None or decode_header_value(named) != task_id:
            raise MCPError(
                HEADER_MISMATCH,
                f"The header {MCP_NAME_HEADER} does not equal the request's taskId.",
            )
