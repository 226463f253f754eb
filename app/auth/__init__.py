"""Users, projects, API keys, tokens and tickets: who may act, and as whom."""

from app.auth.jwt import token_verifier
from app.auth.service import Auth
from app.auth.tickets import IssuedTicket
from app.auth.types import USER_CREATED, ApiKey, Entrant, IssuedKey, Project, Tier, User

__all__ = [
    "USER_CREATED",
    "ApiKey",
    "Auth",
    "Entrant",
    "IssuedKey",
    "IssuedTicket",
    "Project",
    "Tier",
    "User",
    "token_verifier",
]
