"""MCP Apps (`io.modelcontextprotocol/ui`): a run as a page that a host shows beside the chat.

Two resources: `JOB_VIEW`, one page for all runs, which tools name and which fills itself with the
result the host gives it; and a page per run with its report in it. Neither loads anything.
A client without the extension loses nothing: every tool's answer is whole as text and JSON.
"""

from app.surfaces.mcp.apps.views import JOB_VIEW, Apps

__all__ = ["JOB_VIEW", "Apps"]
