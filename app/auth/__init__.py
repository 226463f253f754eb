"""Users, projects and API keys: who may act, and as whom."""

from app.auth.service import Auth
from app.auth.types import USER_CREATED, ApiKey, IssuedKey, Project, Tier, User

__all__ = ["USER_CREATED", "ApiKey", "Auth", "IssuedKey", "Project", "Tier", "User"]
