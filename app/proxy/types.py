"""What the proxy takes and gives: one call of a tool, its result, and the servers' health."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from app.kernel.errors import AppError
from app.kernel.principal import Principal
from app.registry import ServerConfig, Tool, ToolDefinition

FileResolver = Callable[[Principal, UUID], Awaitable[Path]]
"""Gives the local path of a file the principal may read, or raises `not_found`."""

OnListed = Callable[[ServerConfig, Sequence[ToolDefinition]], Awaitable[None]]
"""Told of a server's tools whenever they were listed, before any call reaches the server."""


class ToolCall(NamedTuple):
    """One call. `timeout_s` can only shorten the tool's own limit.

    With a `carrier` somebody else sends it; all that is checked and counted stays.
    """

    principal: Principal
    name: str
    arguments: Mapping[str, Any]
    idempotency_key: str | None = None
    job_id: UUID | None = None
    timeout_s: float | None = None
    carrier: "Carrier | None" = None


Carrier = Callable[[Tool, ToolCall, dict[str, Any], float], Awaitable["RawResult"]]
"""Takes a call to its server in the backend's place: tool, call, checked arguments, time in s."""


class Usage(NamedTuple):
    """What a call took: wall time in ms, argument and answer sizes in bytes of JSON."""

    tool: str
    version_sha: str
    wall_ms: int
    bytes_in: int
    bytes_out: int


class ToolResult(NamedTuple):
    """A tool's answer. `is_error` is the tool's own refusal, explained by `error`."""

    structured: dict[str, Any] | None
    content: list[dict[str, Any]]
    is_error: bool
    error: AppError | None
    usage: Usage


@dataclass(frozen=True, slots=True)
class RawResult:
    """What a backend hands back before the proxy has looked at it."""

    structured: Any = None
    content: list[dict[str, Any]] = field(default_factory=list)
    is_error: bool = False
    rpc_error: Mapping[str, Any] | None = None
    """`code` and `message` of a JSON-RPC error, where the server gave that and no result."""


@dataclass(frozen=True, slots=True)
class ServerHealth:
    """The state of one server; `restarts` counts the starts after the first that worked."""

    name: str
    is_up: bool
    tools: int
    error: str | None
    restarts: int


@dataclass(frozen=True, slots=True)
class Listing:
    """The tools a server offers now."""

    server: ServerConfig
    definitions: tuple[ToolDefinition, ...]
