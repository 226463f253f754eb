"""One-time tickets, with which a browser opens a WebSocket it can send no header on."""

from app.auth.tickets.service import IssuedTicket, is_ticket, issue, redeem

__all__ = ["IssuedTicket", "is_ticket", "issue", "redeem"]
