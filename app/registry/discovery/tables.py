"""The index of tools: one row a tool, made anew when its text or the model changes."""

from typing import ClassVar

from pgvector.sqlalchemy import Vector
from sqlalchemy import Text
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.rls import Base, Policy, service_only


class ToolIndex(Base):
    """A tool by its full name, own tools of the platform included.

    `words` weighs the name above the description; `embedding` is a unit vector of `model`. Models
    differ in dimensions and a search reads only the tools its caller may see, so there is no
    approximate index: an exact scan of ten thousand vectors takes about ten milliseconds.
    """

    __tablename__ = "tool_index"
    __policy__: ClassVar[Policy] = service_only()

    tool_name: Mapped[str] = mapped_column(Text, primary_key=True)
    digest: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(Text)
    words: Mapped[str] = mapped_column(TSVECTOR)
    embedding: Mapped[list[float]] = mapped_column(Vector())
