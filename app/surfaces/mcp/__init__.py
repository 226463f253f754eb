"""The MCP door: Streamable HTTP at `/mcp`, for clients of both eras."""

from app.surfaces.mcp.gateway import Gateway

__all__ = ["Gateway"]
