"""What auth hands out."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, get_args
from uuid import UUID

from app.kernel.principal import Principal

Tier = Literal["Free", "Pro", "Enterprise"]
TIERS: tuple[str, ...] = get_args(Tier)
USER_CREATED = "auth.user_created"
IDENTITY_LINKED = "auth.identity_linked"


@dataclass(frozen=True, slots=True)
class User:
    """A person."""

    user_id: UUID
    email: str
    subscription_tier: str


@dataclass(frozen=True, slots=True)
class Project:
    """A user's named folder of jobs and files."""

    project_id: UUID
    user_id: UUID
    name: str


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key without its secret. `prefix` is enough for its owner to know it again."""

    key_id: UUID
    name: str
    prefix: str
    scopes: frozenset[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key with its secret, which exists nowhere else and cannot be shown again."""

    secret: str = field(repr=False)
    key: ApiKey


@dataclass(frozen=True, slots=True)
class Entrant:
    """Whom a credential lets in. `client` is the API key's id, or the OAuth client's.

    `expires_at` is a token's; a key's end is asked for, because it can be revoked.
    """

    principal: Principal
    client: str
    issuer: str | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Credential:
    """What a key's row says about who presents it."""

    key_id: UUID
    user_id: UUID
    project_id: UUID | None
    scopes: frozenset[str]
    expires_at: datetime | None
