"""What the registry speaks of: configured servers, tool definitions, and tools as they stand."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal
from uuid import UUID

from app.registry.arguments import SecretArgument
from app.registry.declared import Declared, declared
from app.registry.needs import SecretHeader, UpstreamOAuth

Status = Literal["Pending", "Approved", "Disabled"]

DEFAULT_TIMEOUT_S = 120.0
MORE = ("title", "icons", "execution", "_meta")


@dataclass(frozen=True, slots=True)
class ToolOverride:
    """An entry of a server's `tools` list: only tools named there are exposed.

    `description` replaces the server's own; `input_schema` serves a server that gives none.
    """

    name: str
    description: str | None = None
    input_schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Prices:
    """Micro-credits of a server's calls: a default, and tools that differ from it."""

    default_micro: int = 0
    by_tool: Mapping[str, int] = field(default_factory=dict)

    def of(self, tool: str) -> int:
        """The price of one call of `tool` (its name without the server)."""
        return self.by_tool.get(tool, self.default_micro)


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """One tool server: a command (stdio) or a URL, never both.

    One that is guarded was registered by a developer: it is reached through the guarded connector
    only. `tool_timeouts` (seconds) and `tool_rates` (calls a minute) set single tools apart.
    """

    name: str
    command: tuple[str, ...] | None = None
    url: str | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    prices: Prices = field(default_factory=Prices)
    timeout_s: float | None = None
    hosts: tuple[str, ...] = ()
    is_trusted: bool = False
    is_enabled: bool = True
    tools: tuple[ToolOverride, ...] | None = None
    tool_timeouts: Mapping[str, float] = field(default_factory=dict)
    tool_rates: Mapping[str, int] = field(default_factory=dict)
    transport: Literal["streamable-http", "sse"] = "streamable-http"
    is_guarded: bool = False
    era: Literal["auto", "modern", "legacy"] = "auto"
    isolation: Literal["shared", "user"] = "shared"
    secrets: tuple[SecretHeader, ...] = ()
    secret_arguments: tuple[SecretArgument, ...] = ()
    oauth: UpstreamOAuth | None = None
    developer_id: UUID | None = None

    @property
    def gateway_url(self) -> str:
        """Where the server is reached, without any secret: its URL, or its command's first word."""
        if self.url is not None:
            return self.url
        return f"stdio:{self.command[0]}" if self.command else f"builtin:{self.name}"


@dataclass(frozen=True, slots=True)
class RegistryConfig:
    """The whole of `mcp_config.yaml`."""

    servers: tuple[ServerConfig, ...] = ()


def _mentions_files(schema: Any) -> bool:
    if isinstance(schema, Mapping):
        return schema.get("format") == "file" or any(map(_mentions_files, schema.values()))
    return isinstance(schema, list) and any(map(_mentions_files, schema))


@dataclass(frozen=True)
class ToolDefinition:
    """A tool as its server describes it; schemas are JSON Schema 2020-12."""

    server: str
    name: str
    description: str
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any] | None = None
    annotations: Mapping[str, Any] | None = None
    #: `title`, `icons`, `execution` and `_meta`, where the server gives them.
    more: Mapping[str, Any] = field(default_factory=dict)
    #: Arguments of the server's that callers do not see: secrets are filled in.
    filled: tuple[str, ...] = ()

    @property
    def full_name(self) -> str:
        """`<server>.<tool>`."""
        return f"{self.server}.{self.name}"

    def as_dict(self) -> dict[str, Any]:
        """The JSON form that is hashed and stored."""
        filled = {"secretArguments": list(self.filled)} if self.filled else {}
        return {
            "name": self.name,
            "description": self.description,
            "inputSchema": self.input_schema,
            "outputSchema": self.output_schema,
            "annotations": self.annotations,
            **self.more,
            **filled,
        }

    @classmethod
    def from_dict(cls, server: str, raw: Mapping[str, Any]) -> "ToolDefinition":
        """The definition that `as_dict` gave."""
        return cls(
            server=server,
            name=raw["name"],
            description=raw["description"],
            input_schema=raw["inputSchema"],
            output_schema=raw["outputSchema"],
            annotations=raw["annotations"],
            more={key: raw[key] for key in MORE if key in raw},
            filled=tuple(raw.get("secretArguments", ())),
        )

    @cached_property
    def declared(self) -> Declared:
        """How its answers may be kept, and what its refusals cost."""
        return declared(self.more.get("_meta"))

    @cached_property
    def takes_files(self) -> bool:
        """Whether any argument may be a file (`format: file`), at any depth."""
        return _mentions_files(self.input_schema)

    @cached_property
    def sha256(self) -> str:
        """Hash of the canonical JSON: keys sorted, no spaces, UTF-8 (after RFC 8785)."""
        canonical = json.dumps(
            self.as_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=False
        )
        return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Deprecation:
    """That a server or tool will go, why, and what to use instead."""

    message: str
    successor: str | None = None

    def describe(self, description: str) -> str:
        """A description that says so first."""
        instead = f" Use {self.successor} instead." if self.successor else ""
        return f"DEPRECATED: {self.message}{instead} {description}".rstrip()


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as it stands: its approved definition (the latest one while none is approved)."""

    full_name: str
    server: str
    definition: ToolDefinition
    status: Status
    has_changed: bool
    price_micro: int
    timeout_s: float
    calls_per_minute: int | None = None
    deprecated: Deprecation | None = None

    @property
    def description(self) -> str:
        """What listings show: the approved description, after a word of its deprecation."""
        text = self.definition.description
        return text if self.deprecated is None else self.deprecated.describe(text)


@dataclass(frozen=True, slots=True)
class PinReport:
    """Full names of the tools a server added, changed and no longer offers."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
