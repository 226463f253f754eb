"""Servers that developers register: rows, versions, decisions, and what the proxy reads of them."""

from app.registry.servers.comparison import Comparison, Comparisons
from app.registry.servers.decisions import APPROVED, DISABLED, SENT_BACK, Decisions
from app.registry.servers.document import check_document
from app.registry.servers.remote import Reader
from app.registry.servers.service import MAX_SERVERS, Servers
from app.registry.servers.states import TRANSITIONS, require_move
from app.registry.servers.types import (
    Address,
    Notice,
    Offer,
    Published,
    RegisteredServer,
    Server,
    ServerStatus,
    Setup,
    ToolOffer,
    Version,
    config_of,
)

__all__ = [
    "APPROVED",
    "DISABLED",
    "MAX_SERVERS",
    "SENT_BACK",
    "TRANSITIONS",
    "Address",
    "Comparison",
    "Comparisons",
    "Decisions",
    "Notice",
    "Offer",
    "Published",
    "Reader",
    "RegisteredServer",
    "Server",
    "ServerStatus",
    "Servers",
    "Setup",
    "ToolOffer",
    "Version",
    "check_document",
    "config_of",
    "require_move",
]
