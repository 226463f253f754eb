"""What the wire takes and gives: a server, a request to it and the answer, both as raw JSON."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

DEFAULT_LIMIT = 32 * 2**20

Transport = Literal["streamable-http", "sse"]
Era = Literal["modern", "legacy"]
"""`modern`: 2026-07-28, every request by itself. `legacy`: 2024-11-05 to 2025-11-25, sessions."""


@dataclass(frozen=True, slots=True)
class Target:
    """A remote server. Sizes in bytes; `headers` go to the origin of `url` only.

    `allow_private` opens addresses that are not public and plain HTTP: for servers that the
    operator configured. `era` is a hint; without it the server is asked.
    """

    name: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    transport: Transport = "streamable-http"
    era: Era | None = None
    allow_private: bool = False
    output_limit: int = DEFAULT_LIMIT


class Answer(NamedTuple):
    """One JSON-RPC answer; exactly one of `body` and `error` is set, both raw JSON.

    `status` is the HTTP status the server gave; `body` is the raw `result`, `error` the raw
    `error` object.
    """

    status: int
    body: bytes | None
    error: bytes | None = None


OnMessage = Callable[[bytes], Awaitable[None]]
"""Takes a notification that came before the answer, as one raw JSON-RPC message."""


class Wire(Protocol):
    """Carries one request to a remote server, whatever era it speaks."""

    async def call(
        self,
        server: Target,
        method: str,
        params: bytes,
        *,
        name: str | None,
        headers: Mapping[str, str],
        timeout_s: float,
        owner: str | None,
        on_message: OnMessage | None = None,
    ) -> Answer:
        """Send `method` with `params` (raw JSON of the object) and give its answer, unread.

        `params` holds the server's own tool name and, for servers of 2026-07-28, `_meta` with
        protocol version and client capabilities; without `_meta` one is added. `name` becomes
        `Mcp-Name`. `headers` are secrets to inject and `Mcp-Param-*`, nothing of the caller's
        own request. `owner` keys the sessions of older servers: whose credentials `headers` are.

        A `tools/call` is never sent twice once a byte of it may have left. Raises AppError
        `tool_timeout`, `tool_server_down`, `tool_output_too_large`, `tool_protocol_error`.
        """
        ...
