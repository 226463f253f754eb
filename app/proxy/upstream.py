"""One registered server as the pass-through takes it: its own HTTP exchanges, or requests to it.

Credentials of the caller's are filled in here and masked in what comes back; nothing of the
caller's own request is added.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR

from app.kernel.principal import Principal
from app.proxy.backends.base import Greeting, ServerBackend
from app.proxy.carrying import Progress, carry, fill_message, injection, renewed
from app.proxy.credentials import Credentials, Injection, UpstreamRefusedError
from app.proxy.faults import protocol_error
from app.proxy.telling import Teller
from app.proxy.wire import Answer, Era, HttpWire, Relay, Reply, Target
from app.registry import Tool

_NONE: Mapping[str, str] = {}
_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"


@dataclass(frozen=True, slots=True)
class Upstream:
    """A server and the ways to it; `target` is None for a process of this machine."""

    name: str
    backend: ServerBackend
    wire: HttpWire
    target: Target | None
    credentials: Credentials | None = None

    @property
    def has_relay(self) -> bool:
        """Whether the server's own HTTP exchanges can be carried through."""
        return self.target is not None and self.target.transport == "streamable-http"

    def greeting(self) -> Greeting:
        """What the server says of itself. Raises `tool_server_down` if it never started."""
        return self.backend.greeting()

    async def check(self, tool: Tool, timeout_s: float) -> None:
        """Raise unless the running server still describes the tool as it was approved."""
        await self.backend.check(tool, timeout_s)

    async def era(self, principal: Principal) -> Era:
        """The newest era the server speaks over HTTP."""
        assert self.target is not None
        sent = await injection(self.credentials, principal, self.name)
        return await self.wire.eras.of(self.target, sent)

    @asynccontextmanager
    async def open(
        self,
        principal: Principal,
        method: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        is_repeatable: bool = False,
        tool: str | None = None,
    ) -> AsyncIterator[Reply]:
        """An HTTP exchange of the server's own; credentials it refuses are renewed once.

        `tool` is what the body calls, if it is a call, for arguments that are filled from secrets.
        Raises `UnreachableError`, `UpstreamRefusedError`, `tool_server_down` and what
        `Credentials.headers` raises.
        """
        assert self.target is not None
        relay = Relay(self.wire.pool, self.target)
        sent = await injection(self.credentials, principal, self.name)
        async with AsyncExitStack() as stack:
            full = _filled(body, tool, sent)
            opened = relay.open(method, {**headers, **sent}, full, is_repeatable=is_repeatable)
            try:
                reply = await stack.enter_async_context(opened)
            except UpstreamRefusedError as error:
                sent = await renewed(self.credentials, principal, self.name, error, sent)
                full = _filled(body, tool, sent)
                again = relay.open(method, {**headers, **sent}, full, is_repeatable=is_repeatable)
                reply = await stack.enter_async_context(again)
            reply.scrub = sent.scrubber.bytes
            yield reply

    async def request(
        self,
        principal: Principal,
        method: str,
        params: dict[str, Any],
        *,
        timeout_s: float,
        name: str | None = None,
        headers: Mapping[str, str] = _NONE,
        capabilities: Mapping[str, Any] | None = None,
        on_progress: Teller | None = None,
    ) -> dict[str, Any]:
        """The result of one request in whatever era the server speaks.

        `capabilities` are the client's, told to a server of 2026-07-28. Raises MCPError with the
        server's own error, AppError for faults of server or transport.
        """
        if self.target is None:
            return await self.backend.ask(principal, method, params, timeout_s, on_progress)
        progress = None if on_progress is None else Progress(on_progress)
        sent = params if progress is None else progress.asked(params)
        if capabilities is not None:
            sent = sent | {"_meta": dict(sent.get("_meta") or {}) | {_CAPABILITIES: capabilities}}
        answer = await carry(
            self.wire,
            self.target,
            self.credentials,
            principal,
            method,
            orjson.dumps(sent),
            name=name,
            timeout_s=timeout_s,
            headers=headers,
            on_message=progress,
        )
        return read_result(answer, self.name)


def _filled(body: bytes | None, tool: str | None, injected: Injection) -> bytes | None:
    return body if body is None or tool is None else fill_message(body, injected.of(tool))


def read_result(answer: Answer, server: str) -> dict[str, Any]:
    """The result in an answer; the server's own error is raised as `MCPError`."""
    try:
        found = orjson.loads(answer.body or answer.error or b"")
    except orjson.JSONDecodeError as error:
        raise protocol_error(server, "answered with something that is no JSON") from error
    if not isinstance(found, dict):
        raise protocol_error(server, "answered with neither a result nor an error")
    if answer.body is not None:
        return found
    code, message = found.get("code"), found.get("message")
    raise MCPError(
        code if isinstance(code, int) else INTERNAL_ERROR,
        message[:2000] if isinstance(message, str) else "The server gave an error",
        found.get("data"),
    )
