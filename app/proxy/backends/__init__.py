"""The ways to a tool: a warm process, a remote server, a function of this process."""

from app.proxy.backends.base import ToolBackend
from app.proxy.backends.builtin import BuiltinBackend, BuiltinTool
from app.proxy.backends.remote import HttpPool, RemoteConnector
from app.proxy.backends.stdio import StdioConnector
from app.proxy.backends.supervised import SupervisedBackend

__all__ = [
    "BuiltinBackend",
    "BuiltinTool",
    "HttpPool",
    "RemoteConnector",
    "StdioConnector",
    "SupervisedBackend",
    "ToolBackend",
]
