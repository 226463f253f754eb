"""What reaches MCP clients unasked: changes, progress, log messages, questions."""

from app.surfaces.mcp.live.attaching import Live
from app.surfaces.mcp.live.elicitation import Form, can_be_asked, input_request
from app.surfaces.mcp.live.following import Following
from app.surfaces.mcp.live.inputs import ask_for, filled

__all__ = ["Following", "Form", "Live", "ask_for", "can_be_asked", "filled", "input_request"]
