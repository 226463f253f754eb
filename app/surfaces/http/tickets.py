"""The route that gives a browser a ticket for the WebSocket of MCP."""

from datetime import datetime

from fastapi import APIRouter, Request, Response
from pydantic import Field

from app.surfaces.http.dependencies import PREFIX, Caller, Ops, base_url
from app.surfaces.views import View

router = APIRouter(prefix=PREFIX, tags=["mcp"])
_PATH = "/ws"


class TicketOut(View):
    """A ticket for one WebSocket; in a browser `new WebSocket(url, subprotocols)`."""

    ticket: str = Field(description="Shown this once; used once.")
    expires_at: datetime
    url: str = Field(examples=["wss://uaol.example/ws"])
    subprotocols: list[str] = Field(description="To be offered: `mcp`, and the ticket.")


@router.post("/mcp/tickets", status_code=201)
async def issue_ticket(
    ops: Ops, _caller: Caller, request: Request, response: Response
) -> TicketOut:
    """A ticket with the rights of the caller's credential; it is valid for 30 seconds."""
    entrant = await ops.access.admit(request.headers.get("authorization"))
    issued = await ops.access.issue_ticket(entrant)
    response.headers["cache-control"] = "no-store"
    base = (ops.services.settings.public_url or base_url(request)).rstrip("/")
    return TicketOut(
        ticket=issued.ticket,
        expires_at=issued.expires_at,
        url=base.replace("http", "ws", 1) + _PATH,
        subprotocols=["mcp", f"uaol.ticket.{issued.ticket}"],
    )
