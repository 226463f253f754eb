"""Who acts. Every unit of work is opened for one principal, and row-level security follows it."""

from enum import StrEnum
from typing import Literal, NamedTuple
from uuid import UUID

from app.kernel.errors import AppError, Code


class Scope(StrEnum):
    """What a key may do. `admin` is the operator's and includes every other one."""

    JOBS = "jobs"
    TOOLS = "tools"
    FILES = "files"
    BILLING = "billing"
    KEYS = "keys"
    ADMIN = "admin"


USER_SCOPES = frozenset({Scope.JOBS, Scope.TOOLS, Scope.FILES, Scope.BILLING, Scope.KEYS})


class Principal(NamedTuple):
    """A user, or the platform itself (`kind="service"`), perhaps on a user's behalf."""

    kind: Literal["user", "service"]
    user_id: UUID | None = None
    project_id: UUID | None = None
    scopes: frozenset[str] = frozenset()
    key_id: UUID | None = None

    @property
    def role(self) -> str:
        """The database role the unit of work assumes."""
        return "service_role" if self.kind == "service" else "authenticated"

    def elevated(self) -> "Principal":
        """The platform acting for this user: it may write, the claims still name the user."""
        return self._replace(kind="service")

    def require(self, scope: Scope) -> None:
        """Raise `forbidden` unless the principal has the scope."""
        if self.kind == "service" or scope in self.scopes or Scope.ADMIN in self.scopes:
            return
        raise AppError(
            Code.FORBIDDEN,
            f"This needs the scope '{scope}', which the key does not have.",
            hint="Use a key that was issued with it.",
            details={"scope": scope.value},
        )

    @property
    def owner(self) -> UUID:
        """The user's id; a principal without one cannot own anything."""
        if self.user_id is None:
            raise AppError(Code.FORBIDDEN, "This needs a user, and the platform itself is none.")
        return self.user_id


SERVICE = Principal(kind="service")
