"""What the fast way needs from the rest of the proxy, and what it gives."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from app.kernel.errors import AppError
from app.kernel.principal import Principal
from app.proxy.breaker import Breakers
from app.proxy.upstream import Upstream
from app.registry import Snapshot, Tool

Limit = Callable[[Principal, Tool], Awaitable[None]]
"""Spends a call of the principal's and the tool's limits, or raises `rate_limited`."""


@dataclass(frozen=True, slots=True)
class Seams:
    """The parts of the proxy that every call goes through, whichever way it takes.

    `upstream_of` gives the server of that name, or None if there is none in this process.
    """

    snapshot: Callable[[], Snapshot]
    upstream_of: Callable[[str], Upstream | None]
    limit: Limit
    breakers: Breakers


class Plan(NamedTuple):
    """What the fast way knows of a tool as long as the registry stays as it is.

    `opening` begins the params of a call; `headers` maps paths in its arguments to headers.
    """

    tool: Tool
    opening: bytes
    headers: Mapping[tuple[str, ...], str]


class Route(NamedTuple):
    """A tool that the fast way can reach, and its server as it is now."""

    plan: Plan
    upstream: Upstream

    @property
    def tool(self) -> Tool:
        """The tool."""
        return self.plan.tool


class FastResult(NamedTuple):
    """A tool's checked answer: raw JSON, or the tool's own refusal as an error."""

    content: bytes
    structured: bytes | None
    error: AppError | None
    wall_ms: int
    bytes_out: int
