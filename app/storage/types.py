"""What storage hands out."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

Kind = Literal["input", "artifact"]


@dataclass(frozen=True, slots=True)
class Blob:
    """Stored bytes: their SHA-256 in hex, which is their address, and their number.

    Only storage makes one: an address from outside would open whatever bytes it names.
    """

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a user: a name and an owner for a blob."""

    file_id: UUID
    user_id: UUID
    project_id: UUID | None
    job_id: UUID | None
    name: str
    media_type: str
    size: int
    sha256: str
    kind: Kind
    created_at: datetime
