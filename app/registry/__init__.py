"""The registry: which tools exist, what they cost, and which definition of each is approved."""

from app.registry.config import RESERVED, load_config
from app.registry.overrides import TOOL_NAME
from app.registry.service import Registry
from app.registry.snapshot import Snapshot
from app.registry.types import (
    PinReport,
    Prices,
    RegistryConfig,
    ServerConfig,
    Tool,
    ToolDefinition,
    ToolOverride,
)

__all__ = [
    "RESERVED",
    "TOOL_NAME",
    "PinReport",
    "Prices",
    "Registry",
    "RegistryConfig",
    "ServerConfig",
    "Snapshot",
    "Tool",
    "ToolDefinition",
    "ToolOverride",
    "load_config",
]
