"""`/mcp/servers/{slug}`: one registered server passed through under its own names."""

from app.surfaces.mcp.passthrough.entry import PATH as SERVERS
from app.surfaces.mcp.passthrough.entry import Passthrough

__all__ = ["SERVERS", "Passthrough"]
