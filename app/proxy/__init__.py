"""The proxy: resolves, limits, checks, runs and measures every call of a tool."""

from app.proxy.backends import BuiltinTool, Greeting, ToolBackend, raw_result, raw_result_of
from app.proxy.carrying import param_headers
from app.proxy.credentials import (
    Credentials,
    FindServer,
    RemoteServer,
    ServerCredentials,
    origin_of,
)
from app.proxy.fast import FastCalls, FastResult, Route
from app.proxy.faults import server_down
from app.proxy.following import Follower
from app.proxy.oauth import (
    LIFETIME_S,
    Connection,
    Consent,
    Identity,
    OAuthConnections,
    OAuthFlows,
    Web,
    metadata_document,
)
from app.proxy.run_python import egress_of, isolation_of, python_tool, sandbox_tool
from app.proxy.service import ToolProxy
from app.proxy.telling import teller, telling_to
from app.proxy.types import (
    Carrier,
    FileResolver,
    Listing,
    OnListed,
    RawResult,
    ServerHealth,
    ToolCall,
    ToolResult,
    Usage,
)
from app.proxy.upstream import Upstream
from app.proxy.wire import (
    Event,
    Parts,
    Reply,
    cut,
    join_params,
    make_notification,
    make_request,
    make_response,
    split_params,
)

__all__ = [
    "LIFETIME_S",
    "BuiltinTool",
    "Carrier",
    "Connection",
    "Consent",
    "Credentials",
    "Event",
    "FastCalls",
    "FastResult",
    "FileResolver",
    "FindServer",
    "Follower",
    "Greeting",
    "Identity",
    "Listing",
    "OAuthConnections",
    "OAuthFlows",
    "OnListed",
    "Parts",
    "RawResult",
    "RemoteServer",
    "Reply",
    "Route",
    "ServerCredentials",
    "ServerHealth",
    "ToolBackend",
    "ToolCall",
    "ToolProxy",
    "ToolResult",
    "Upstream",
    "Usage",
    "Web",
    "cut",
    "egress_of",
    "isolation_of",
    "join_params",
    "make_notification",
    "make_request",
    "make_response",
    "metadata_document",
    "origin_of",
    "param_headers",
    "python_tool",
    "raw_result",
    "raw_result_of",
    "sandbox_tool",
    "server_down",
    "split_params",
    "teller",
    "telling_to",
]
