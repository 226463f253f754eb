"""The facade of webhooks: endpoints of users, and the ends of jobs that they are told."""

import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from app.kernel.audit import record
from app.kernel.crypto import key_id, seal
from app.kernel.egress import check_target
from app.kernel.errors import AppError, Code
from app.kernel.ids import new_id
from app.kernel.uow import UnitOfWork
from app.kernel.wakeups import Wakeups
from app.orchestration.states import TERMINAL_EVENTS
from app.orchestration.types import End
from app.orchestration.webhooks import signing, store
from app.orchestration.webhooks.sending import DELIVERIES_TOPIC
from app.orchestration.webhooks.types import Delivery, Endpoint

PING = "webhook.ping"
MAX_ENDPOINTS = 20
_ENDPOINTS_TOPIC = "webhook-endpoints"
_OVERLAP_S = 24 * 3600.0
_KNOWN_S = 10.0
_KNOWN_MOST = 10_000


class Webhooks:
    """Endpoints and deliveries, in the caller's transaction. One instance a process.

    `key` encrypts the secrets; `base_url` begins the links in messages, which are paths without.
    """

    def __init__(
        self, wakeups: Wakeups, key: bytes, *, base_url: str = "", allow_private: bool = False
    ) -> None:
        self._wakeups = wakeups
        self._key = key
        self._key_id = key_id(key)
        self._base_url = base_url.rstrip("/")
        self._allow_private = allow_private
        self._known: dict[tuple[UUID, UUID], float] = {}
        self._changes = wakeups.ticket(_ENDPOINTS_TOPIC)

    async def create(
        self, uow: UnitOfWork, user_id: UUID, url: str, description: str = ""
    ) -> tuple[Endpoint, str]:
        """Add an endpoint; also gives its secret, which is never shown again.

        Raises `invalid_input` for a URL that can be none, `conflict` above 20 endpoints.
        """
        url = check_target(url, allow_private=self._allow_private)
        if len(await store.list_of(uow, user_id, MAX_ENDPOINTS, None)) >= MAX_ENDPOINTS:
            raise AppError(
                Code.CONFLICT,
                f"There are {MAX_ENDPOINTS} endpoints already, which is the most.",
                hint="Delete one that is not used any more.",
            )
        secret, webhook_id = signing.new_secret(), new_id()
        sealed = seal(self._key, secret, webhook_id.bytes)
        made = await store.add(
            uow,
            user_id,
            webhook_id,
            url=url,
            description=description,
            sealed=(sealed, self._key_id),
        )
        await record(uow, "webhooks.created", f"webhook:{webhook_id}", {"url": url})
        return made, signing.shown(secret)

    async def get(self, uow: UnitOfWork, user_id: UUID, webhook_id: UUID) -> Endpoint:
        """One of the user's endpoints, or `not_found`."""
        found = await store.get(uow, user_id, webhook_id)
        if found is None:
            raise _unknown(webhook_id)
        return found

    async def list(
        self, uow: UnitOfWork, user_id: UUID, limit: int = 50, before: UUID | None = None
    ) -> Sequence[Endpoint]:
        """The user's endpoints, newest first, at most 200."""
        return await store.list_of(uow, user_id, max(1, min(limit, 200)), before)

    async def change(
        self,
        uow: UnitOfWork,
        user_id: UUID,
        webhook_id: UUID,
        *,
        url: str,
        description: str,
        is_enabled: bool,
    ) -> Endpoint:
        """Replace what an endpoint says. Enabled, its pending deliveries go on."""
        url = check_target(url, allow_private=self._allow_private)
        if not await store.change(
            uow, user_id, webhook_id, url=url, description=description, is_enabled=is_enabled
        ):
            raise _unknown(webhook_id)
        details = {"url": url, "is_enabled": is_enabled}
        await self._changed(uow, "webhooks.changed", webhook_id, details)
        uow.after_commit(lambda: self._wakeups.wake(DELIVERIES_TOPIC))
        return await self.get(uow, user_id, webhook_id)

    async def rotate(self, uow: UnitOfWork, user_id: UUID, webhook_id: UUID) -> str:
        """A new secret; messages are signed by the old one too for 24 hours."""
        await self.get(uow, user_id, webhook_id)
        secret = signing.new_secret()
        sealed = seal(self._key, secret, webhook_id.bytes)
        await store.rotate(uow, webhook_id, sealed, self._key_id, _OVERLAP_S)
        await self._changed(uow, "webhooks.secret_rotated", webhook_id, {})
        return signing.shown(secret)

    async def delete(self, uow: UnitOfWork, user_id: UUID, webhook_id: UUID) -> None:
        """Delete an endpoint; nothing is sent to it any more."""
        if not await store.remove(uow, user_id, webhook_id):
            raise _unknown(webhook_id)
        await self._changed(uow, "webhooks.deleted", webhook_id, {})

    async def _changed(
        self, uow: UnitOfWork, action: str, webhook_id: UUID, details: dict[str, Any]
    ) -> None:
        await record(uow, action, f"webhook:{webhook_id}", details)
        uow.after_commit(lambda: self._wakeups.wake(_ENDPOINTS_TOPIC))

    async def test(self, uow: UnitOfWork, user_id: UUID, webhook_id: UUID) -> Delivery:
        """Send an event about nothing; one that is still under way is given again."""
        endpoint = await self.get(uow, user_id, webhook_id)
        _require_enabled(endpoint)
        data = {"webhook_id": str(webhook_id)}
        delivery = await store.ping(uow, endpoint, new_id(), PING, data)
        uow.after_commit(lambda: self._wakeups.wake(DELIVERIES_TOPIC))
        return delivery

    async def deliveries(
        self,
        uow: UnitOfWork,
        user_id: UUID,
        webhook_id: UUID,
        limit: int = 50,
        before: UUID | None = None,
        *,
        status: str | None = None,
    ) -> Sequence[Delivery]:
        """The endpoint's deliveries of the last 30 days, newest first, at most 200."""
        await self.get(uow, user_id, webhook_id)
        most = max(1, min(limit, 200))
        return await store.deliveries(uow, user_id, webhook_id, most, before, status)

    async def redeliver(
        self, uow: UnitOfWork, user_id: UUID, webhook_id: UUID, delivery_id: UUID
    ) -> Delivery:
        """Send a delivery again at once, with the same id; one that has ended starts over."""
        _require_enabled(await self.get(uow, user_id, webhook_id))
        found = await store.again(uow, user_id, webhook_id, delivery_id)
        if found is None:
            raise AppError(Code.NOT_FOUND, f"There is no delivery {delivery_id}.")
        uow.after_commit(lambda: self._wakeups.wake(DELIVERIES_TOPIC))
        return found

    def recall(self, user_id: UUID, webhook_id: UUID) -> bool:
        """Whether the endpoint was the user's own and enabled a moment ago, from memory."""
        if self._changes.event.is_set():
            self._changes = self._wakeups.ticket(_ENDPOINTS_TOPIC)
            self._known.clear()
        return self._known.get((user_id, webhook_id), 0.0) > time.monotonic()

    async def require(self, uow: UnitOfWork, user_id: UUID, webhook_id: UUID) -> None:
        """Raise `not_found` or `invalid_input` unless a job of the user may name the endpoint."""
        if self.recall(user_id, webhook_id):
            return
        _require_enabled(await self.get(uow, user_id, webhook_id))
        if len(self._known) >= _KNOWN_MOST:
            self._known.clear()
        self._known[user_id, webhook_id] = time.monotonic() + _KNOWN_S

    async def announce(self, uow: UnitOfWork, ends: Sequence[tuple[End, UUID]]) -> None:
        """Queue the messages about jobs that end in this transaction, each with its endpoint."""
        await store.announce(uow, [self._message(end, webhook_id) for end, webhook_id in ends])
        # Every process delivers; those elsewhere find out when they look.
        uow.after_commit(lambda: self._wakeups.wake(DELIVERIES_TOPIC, is_local=True))

    def _message(self, end: End, webhook_id: UUID) -> dict[str, Any]:
        job = end.lease.job
        link = f"{self._base_url}/v1/jobs/{job.job_id}"
        data = {
            "job_id": job.job_id,
            "kind": job.kind,
            "status": end.status,
            "error_code": (end.error or {}).get("code"),
            "links": {"job": link, "events": f"{link}/events"},
        }
        return {
            "delivery_id": new_id(),
            "webhook_id": webhook_id,
            "user_id": job.user_id,
            "job_id": job.job_id,
            "type": TERMINAL_EVENTS[end.status],
            "data": data,
        }


def _require_enabled(endpoint: Endpoint) -> None:
    if not endpoint.is_enabled:
        raise AppError(
            Code.INVALID_INPUT,
            f"The webhook {endpoint.webhook_id} is disabled. {endpoint.disabled_reason or ''}",
            hint="Enable it first (`PUT /v1/webhooks/{webhook_id}`), or name another.",
            details={"pointer": "/webhook"},
        )


def _unknown(webhook_id: UUID) -> AppError:
    return AppError(
        Code.NOT_FOUND,
        f"There is no webhook {webhook_id}.",
        hint="List yours with `GET /v1/webhooks`.",
        details={"pointer": "/webhook"},
    )
