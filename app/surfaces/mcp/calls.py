"""One MCP request as the handlers see it: who calls, through which address, who wants progress."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from mcp.server.context import ServerRequestContext
from starlette.requests import HTTPConnection

from app.kernel.principal import Principal
from app.orchestration import JobEvent

PRINCIPAL_KEY = "uaol.principal"
Context = ServerRequestContext[Any, Any]


@dataclass(frozen=True)
class Call:
    """The caller of one request."""

    principal: Principal
    base_url: str
    context: Context

    @classmethod
    def of(cls, context: Context) -> "Call":
        """The call that the gate let through."""
        request = context.request
        assert isinstance(request, HTTPConnection)
        principal = request.scope[PRINCIPAL_KEY]
        assert isinstance(principal, Principal)
        # A WebSocket's links lead to the same server over HTTP.
        scheme = {"ws": "http", "wss": "https"}.get(request.url.scheme, request.url.scheme)
        return cls(principal, str(request.base_url.replace(scheme=scheme)), context)

    @property
    def state(self) -> dict[str, Any] | None:
        """What this tool gave the client to bring back; it came sealed and is what was given."""
        raw = (self.context.params or {}).get("requestState")
        return None if raw is None else orjson.loads(raw)

    @property
    def responses(self) -> Mapping[str, Any]:
        """What the client answered to the questions of the round before."""
        given: Mapping[str, Any] | None = (self.context.params or {}).get("inputResponses")
        return given or {}

    async def progress(self, event: JobEvent, message: str) -> None:
        """Send a progress notification, if the caller asked for them; `seq` only grows."""
        await self.context.session.report_progress(float(event.seq), None, message)


def sentence(event: JobEvent) -> str:
    """An event of the trace for people."""
    data = event.data
    match event.kind:
        case "progress":
            return f"{data.get('message', '')} ({data.get('done')}/{data.get('total')})"
        case "agent.started":
            return f"{data.get('role')} starts"
        case "agent.finished":
            return f"{data.get('role')}: {data.get('summary', 'done')}"
        case "agent.handoff":
            return f"{data.get('from')} hands over to {data.get('to')}: {data.get('reason', '')}"
        case "tool.started" | "tool.finished" | "tool.failed":
            return f"{data.get('tool')} {event.kind.removeprefix('tool.')}"
        case "check.passed" | "check.failed":
            return f"check {data.get('check')} {event.kind.removeprefix('check.')}{_why(data)}"
        case _:
            return event.kind.replace(".", " ")


def _why(data: Mapping[str, Any]) -> str:
    return f": {data['reason']}" if data.get("reason") else ""
