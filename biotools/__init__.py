"""Biology tools: one MCP server per field, one typed function per tool.

Every server also works stand-alone: `python -m biotools.<field>` speaks MCP over stdio.
JSON coordinates are 0-based, half-open, on the forward strand.
"""

from biotools.errors import ToolInputError
from biotools.params import FilePath

__all__ = ["FilePath", "ToolInputError"]
