"""What the vault takes and gives. A value is in `Secret` alone, and that does not print it."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

Scope = Literal["user", "project", "developer", "oauth"]
"""Whose calls a secret serves. `oauth` is what the platform itself keeps for a user: tokens of
connections. It is never listed among secrets, and nobody sets it by name."""


class SecretRef(NamedTuple):
    """Where a secret is: its owner, its scope, its name; a project's also names the project."""

    user_id: UUID
    scope: Scope
    name: str
    project_id: UUID | None = None

    @property
    def holder(self) -> UUID:
        """Within what the name is unique."""
        return self.project_id if self.project_id is not None else self.user_id


class Slot(NamedTuple):
    """The place a new value will take: what it is bound to when it is sealed."""

    user_id: UUID
    secret_id: UUID
    version: int

    @property
    def binding(self) -> bytes:
        """Tenant, secret and version: authenticated with the ciphertext, so it opens only here."""
        tenant = b"uaol secret 1\0" + self.user_id.bytes
        return tenant + self.secret_id.bytes + self.version.to_bytes(8, "big")


@dataclass(frozen=True, slots=True)
class Sealed:
    """A value under a data key of its own, and that key wrapped by the key `kek_id`."""

    slot: Slot
    kek_id: str
    wrapped: bytes
    ciphertext: bytes
    origins: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Secret:
    """An opened secret. `origins` are those it may be sent to; empty: none but the platform."""

    slot: Slot
    value: bytes = field(repr=False)
    origins: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The value as text."""
        return self.value.decode()


@dataclass(frozen=True, slots=True)
class SecretInfo:
    """What is shown of a secret: never its value. `used_at` is exact to the hour."""

    secret_id: UUID
    scope: Scope
    name: str
    project_id: UUID | None
    origins: tuple[str, ...]
    version: int
    created_at: datetime
    changed_at: datetime
    used_at: datetime | None
