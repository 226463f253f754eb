"""The connection behind a request: what outlives the request is kept there."""

from mcp.server.connection import Connection
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from app.surfaces.mcp.calls import Context


def connection_of(context: Context) -> Connection:
    """The connection of a request or notification.

    The SDK gives handlers no public way to it, and only its exit stack tells of its end.
    """
    connection = context.session._connection  # noqa: SLF001
    assert isinstance(connection, Connection)
    return connection


def is_modern(context: Context) -> bool:
    """Whether the caller speaks 2026-07-28 or later: no session, no way back to the client."""
    return context.protocol_version in MODERN_PROTOCOL_VERSIONS
