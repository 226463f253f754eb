"""Tables of the vault: what there is, for owners to see, and sealed values, for nobody."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.rls import Base, own_rows, service_only

_NOW = text("now()")
_TIME = DateTime(timezone=True)


class VaultSecretRow(Base):
    """A secret without its value; `holder` is the project or the user its name is unique in."""

    __tablename__ = "vault_secret"
    __policy__ = own_rows()
    __table_args__ = (
        UniqueConstraint("user_id", "scope", "holder", "name"),
        CheckConstraint("scope in ('user', 'project', 'developer', 'oauth')", name="scope"),
        CheckConstraint("(scope = 'project') = (project_id is not null)", name="project"),
        CheckConstraint("version > 0", name="version"),
    )

    secret_id: Mapped[UUID] = mapped_column(primary_key=True)
    # Named as text: the modules are siblings and do not import each other.
    user_id: Mapped[UUID] = mapped_column(ForeignKey("app.users.user_id"))
    scope: Mapped[str] = mapped_column(Text)
    project_id: Mapped[UUID | None] = mapped_column(ForeignKey("app.projects.project_id"))
    holder: Mapped[UUID]
    name: Mapped[str] = mapped_column(Text)
    origins: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    version: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(_TIME, server_default=_NOW)
    changed_at: Mapped[datetime] = mapped_column(_TIME, server_default=_NOW)
    used_at: Mapped[datetime | None] = mapped_column(_TIME)


class VaultSealedRow(Base):
    """The newest value of a secret under its data key, and that key under the key `kek_id`.

    Older values are gone with the row they were in: a replaced credential is of no use here.
    """

    __tablename__ = "vault_sealed"
    __policy__ = service_only()
    __table_args__ = (Index(None, "kek_id", "secret_id"),)

    secret_id: Mapped[UUID] = mapped_column(
        ForeignKey("app.vault_secret.secret_id", ondelete="CASCADE"), primary_key=True
    )
    version: Mapped[int] = mapped_column(Integer)
    kek_id: Mapped[str] = mapped_column(Text)
    wrapped: Mapped[bytes] = mapped_column(LargeBinary)
    ciphertext: Mapped[bytes] = mapped_column(LargeBinary)
