"""The ways to a tool: a warm process, a remote server, a function of this process."""

from app.proxy.backends.base import Greeting, ServerBackend, ToolBackend
from app.proxy.backends.builtin import BuiltinBackend, BuiltinTool
from app.proxy.backends.isolated import IsolatedBackend
from app.proxy.backends.raw import raw_error, raw_result, raw_result_of
from app.proxy.backends.remote import HttpPool, RemoteConnector, target_of
from app.proxy.backends.stdio import StdioConnector
from app.proxy.backends.supervised import SupervisedBackend

__all__ = [
    "BuiltinBackend",
    "BuiltinTool",
    "Greeting",
    "HttpPool",
    "IsolatedBackend",
    "RemoteConnector",
    "ServerBackend",
    "StdioConnector",
    "SupervisedBackend",
    "ToolBackend",
    "raw_error",
    "raw_result",
    "raw_result_of",
    "target_of",
]
