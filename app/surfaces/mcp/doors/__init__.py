"""The ways in to the MCP server: who is let in, and the transports beside Streamable HTTP."""

from app.surfaces.mcp.doors.gate import Gate, Needs
from app.surfaces.mcp.doors.origins import Origins, security
from app.surfaces.mcp.doors.resource import Resource
from app.surfaces.mcp.doors.sessions import Sessions
from app.surfaces.mcp.doors.sse import SseDoor
from app.surfaces.mcp.doors.websocket import SocketDoor

__all__ = [
    "Gate",
    "Needs",
    "Origins",
    "Resource",
    "Sessions",
    "SocketDoor",
    "SseDoor",
    "security",
]
