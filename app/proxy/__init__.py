"""The proxy: resolves, limits, checks, runs and measures every call of a tool."""

from app.proxy.backends import BuiltinTool, ToolBackend
from app.proxy.run_python import sandbox_tool
from app.proxy.service import ToolProxy
from app.proxy.telling import teller, telling
from app.proxy.types import (
    FileResolver,
    Listing,
    OnListed,
    RawResult,
    ServerHealth,
    ToolCall,
    ToolResult,
    Usage,
)

__all__ = [
    "BuiltinTool",
    "FileResolver",
    "Listing",
    "OnListed",
    "RawResult",
    "ServerHealth",
    "ToolBackend",
    "ToolCall",
    "ToolProxy",
    "ToolResult",
    "Usage",
    "sandbox_tool",
    "teller",
    "telling",
]
