"""The audit log: who did what to what, written in the transaction that did it."""

from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb

from app.kernel.ids import new_id
from app.kernel.principal import Principal
from app.kernel.uow import UnitOfWork

_INSERT = """
insert into app.audit_log (entry_id, user_id, actor, action, subject, details)
values (:entry_id, :user_id, :actor, :action, :subject, :details)
"""


async def record(uow: UnitOfWork, action: str, subject: str, details: Mapping[str, Any]) -> None:
    """Write one entry, as in `record(uow, "auth.key_revoked", f"key:{key_id}", {})`.

    Needs a unit of work of the platform (`principal.elevated()`); `details` holds no secrets.
    """
    await uow.execute(
        _INSERT,
        {
            "entry_id": new_id(),
            "user_id": uow.principal.user_id,
            "actor": _actor(uow.principal),
            "action": action,
            "subject": subject,
            "details": Jsonb(dict(details)),
        },
    )


def _actor(principal: Principal) -> str:
    if principal.key_id is not None:
        return f"key:{principal.key_id}"
    if principal.user_id is not None:
        return f"user:{principal.user_id}"
    return "platform"
