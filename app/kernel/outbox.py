"""The outbox: facts one module states and others react to, delivered at least once.

A fact is a row of the transaction that made it true. The relay claims rows, then runs each
handler in a transaction that also marks the row done, so a handler's own writes happen once
although it may be called again; effects outside the database must be idempotent by event id.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from app.kernel.ids import new_id
from app.kernel.principal import SERVICE
from app.kernel.telemetry import scrub
from app.kernel.uow import Transactions, UnitOfWork

Handler = Callable[[UnitOfWork, dict[str, Any]], Awaitable[None]]

_log = logging.getLogger(__name__)
_ERROR_LENGTH = 500

_INSERT = """
insert into app.outbox (event_id, name, payload) values (:event_id, :name, :payload)
"""

# The lease counts the attempt before it is made, so that an event which kills its process
# backs off too.
_CLAIM = """
with due as materialized (
  select event_id from app.outbox where done_at is null and available_at <= now()
  order by available_at, event_id limit :limit for update skip locked)
update app.outbox set attempts = attempts + 1,
  available_at = now() + make_interval(secs => :lease_s)
where event_id = any(array(select event_id from due))
returning event_id, name, payload, attempts
"""

_LOCK = """
select 1 from app.outbox
where event_id = :event_id and attempts = :attempt and done_at is null for update skip locked
"""

_DONE = "update app.outbox set done_at = now(), last_error = null where event_id = :event_id"

_FAILED = """
update app.outbox set last_error = :error,
  available_at = now() + make_interval(secs => :wait_s)
where event_id = :event_id and attempts = :attempt and done_at is null
"""


@dataclass(frozen=True, slots=True)
class Event:
    """A fact in the past tense, as `auth.user_created`, with a JSON object."""

    name: str
    payload: dict[str, Any]
    event_id: UUID = field(default_factory=new_id)


class UnhandledEventError(LookupError):
    """No handler is registered under the event's name."""


async def publish(uow: UnitOfWork, event: Event) -> None:
    """State a fact; it is delivered once the transaction commits and never if it does not.

    The payload reaches handlers with the key `event_id` (text) added.
    """
    payload = {**event.payload, "event_id": str(event.event_id)}
    await uow.execute(
        _INSERT, {"event_id": event.event_id, "name": event.name, "payload": Jsonb(payload)}
    )


class Relay:
    """Brings events to their handlers; any number of relays may run on one database.

    An event nobody handles stays in the table with its error and is offered again, so that it
    is not lost when the process that knows its handler starts later.
    """

    def __init__(
        self,
        transactions: Transactions,
        handlers: Mapping[str, Handler],
        *,
        backoff_s: float = 1.0,
        longest_backoff_s: float = 3600.0,
        lease_s: float = 300.0,
    ) -> None:
        self._transactions = transactions
        self._handlers = dict(handlers)
        self._backoff_s = backoff_s
        self._longest_backoff_s = longest_backoff_s
        self._lease_s = lease_s

    async def run_once(self, limit: int = 100) -> int:
        """Offer up to `limit` due events, oldest first; return how many were delivered."""
        delivered = 0
        for event, attempt in await self._claim(limit):
            try:
                delivered += await self._deliver(event, attempt)
            except Exception as error:  # noqa: BLE001  a handler may fail in any way
                await self._fail(event, attempt, error)
        return delivered

    async def _claim(self, limit: int) -> list[tuple[Event, int]]:
        async with self._transactions.begin(SERVICE) as uow:
            rows = await uow.execute(_CLAIM, {"limit": limit, "lease_s": self._lease_s})
            claimed = [(Event(row.name, row.payload, row.event_id), row.attempts) for row in rows]
        return sorted(claimed, key=lambda item: item[0].event_id)

    async def _deliver(self, event: Event, attempt: int) -> bool:
        handler = self._handlers.get(event.name)
        if handler is None:
            raise UnhandledEventError(f"no handler for '{event.name}'")
        async with self._transactions.begin(SERVICE) as uow:
            # A relay whose lease ran out finds another attempt here, or the row locked.
            locked = await uow.execute(_LOCK, {"event_id": event.event_id, "attempt": attempt})
            if locked.first() is None:
                return False
            await handler(uow, dict(event.payload))
            await uow.execute(_DONE, {"event_id": event.event_id})
        return True

    async def _fail(self, event: Event, attempt: int, error: Exception) -> None:
        wait_s = min(self._backoff_s * 2.0 ** min(attempt - 1, 30), self._longest_backoff_s)
        reason = scrub(f"{type(error).__name__}: {error}")[:_ERROR_LENGTH]
        _log.warning(
            "event not delivered",
            extra={"event_name": event.name, "event_id": str(event.event_id), "reason": reason},
        )
        async with self._transactions.begin(SERVICE) as uow:
            await uow.execute(
                _FAILED,
                {"event_id": event.event_id, "attempt": attempt, "error": reason, "wait_s": wait_s},
            )
