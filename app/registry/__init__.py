"""The registry: which tools exist, what they cost, and which definition of each is approved."""

from app.registry.arguments import SecretArgument, without
from app.registry.config import RESERVED, load_config
from app.registry.differences import ToolDifference
from app.registry.discovery import Discovery, Document, Match
from app.registry.findings import Finding, Scan, no_scan
from app.registry.making import make_registry
from app.registry.needs import SecretHeader, SecretScope, UpstreamOAuth, from_server_json
from app.registry.overrides import TOOL_NAME
from app.registry.servers import (
    TRANSITIONS,
    Address,
    Comparison,
    Notice,
    Offer,
    Published,
    Reader,
    RegisteredServer,
    Server,
    ServerStatus,
    Setup,
    ToolOffer,
    Version,
    check_document,
    config_of,
    require_move,
)
from app.registry.service import NOTICES, TOPIC, Registry
from app.registry.snapshot import Lookups, Snapshot
from app.registry.store import ToolState
from app.registry.tasksupport import TaskSupport, task_support
from app.registry.types import (
    MORE,
    Deprecation,
    PinReport,
    Prices,
    RegistryConfig,
    ServerConfig,
    Tool,
    ToolDefinition,
    ToolOverride,
)

__all__ = [
    "MORE",
    "NOTICES",
    "RESERVED",
    "TOOL_NAME",
    "TOPIC",
    "TRANSITIONS",
    "Address",
    "Comparison",
    "Deprecation",
    "Discovery",
    "Document",
    "Finding",
    "Lookups",
    "Match",
    "Notice",
    "Offer",
    "PinReport",
    "Prices",
    "Published",
    "Reader",
    "RegisteredServer",
    "Registry",
    "RegistryConfig",
    "Scan",
    "SecretArgument",
    "SecretHeader",
    "SecretScope",
    "Server",
    "ServerConfig",
    "ServerStatus",
    "Setup",
    "Snapshot",
    "TaskSupport",
    "Tool",
    "ToolDefinition",
    "ToolDifference",
    "ToolOffer",
    "ToolOverride",
    "ToolState",
    "UpstreamOAuth",
    "Version",
    "check_document",
    "config_of",
    "from_server_json",
    "load_config",
    "make_registry",
    "no_scan",
    "require_move",
    "task_support",
    "without",
]
