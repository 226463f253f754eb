"""The table of single charges against leased credits; only ever inserted."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, DateTime, text
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.rls import Base, own_rows
from app.kernel.vacuum import GROWS


class CallChargeRow(Base):
    """What one call cost. Its primary key makes a second charge of the call impossible.

    `hold_id` is the lease that paid: the settlement of that hold is the sum of its charges.
    """

    __tablename__ = "call_charge"
    __policy__ = own_rows(reached_by="call_id")
    __vacuum__ = GROWS
    __is_append_only__ = True
    __table_args__ = (CheckConstraint("amount_micro > 0", name="amount"),)
    call_id: Mapped[UUID] = mapped_column(primary_key=True)
    hold_id: Mapped[UUID]
    user_id: Mapped[UUID]
    amount_micro: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=text("now()")
    )
