"""The vault's facade. Keys may be far away, so sealing and opening stand apart from transactions:
`slot` in one, `seal` outside, `put` in another; `find` in one, `open` outside.
"""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from app.kernel import audit
from app.kernel.clock import Clock
from app.kernel.errors import AppError, Code
from app.kernel.uow import UnitOfWork
from app.kernel.wakeups import Wakeups
from app.vault import envelope, store
from app.vault.keys import KeyBackend
from app.vault.types import Sealed, Secret, SecretInfo, SecretRef, Slot


def changes_of(user_id: UUID) -> str:
    """The topic that is woken when secrets of a user changed, for those who remember them."""
    return f"vault-{user_id}"


MAX_SECRETS = 200


class Vault:
    """Secrets in the caller's unit of work, which is the platform's (`principal.elevated()`)."""

    def __init__(self, keys: KeyBackend, clock: Clock, wakeups: Wakeups) -> None:
        self._keys = keys
        self._clock = clock
        self._wakeups = wakeups
        self._used: dict[UUID, datetime] = {}

    async def slot(self, uow: UnitOfWork, ref: SecretRef) -> tuple[Slot, tuple[str, ...]]:
        """Where the next value of a secret goes, and its origins; version 1 if there is none."""
        return await store.slot(uow, ref)

    async def seal(self, slot: Slot, value: bytes, origins: tuple[str, ...] = ()) -> Sealed:
        """Seal a value for a slot, and for no other. Raises `keys_unavailable`."""
        return await envelope.close(self._keys, slot, value, origins)

    async def put(self, uow: UnitOfWork, ref: SecretRef, sealed: Sealed) -> SecretInfo:
        """Write what was sealed; the value before it is gone.

        Raises `conflict` if the slot was taken meanwhile, or above 200 secrets of a user.
        """
        is_new = sealed.slot.version == 1
        if is_new and ref.scope != "oauth" and await store.count(uow, ref.user_id) >= MAX_SECRETS:
            raise AppError(
                Code.CONFLICT,
                f"You have {MAX_SECRETS} secrets already, which is the most.",
                hint="Delete one that is not used any more.",
            )
        info = await store.put(uow, ref, sealed)
        if info is None:
            raise taken()
        await self._changed(uow, "vault.secret_set", ref, info.secret_id, info.version)
        return info

    async def list(self, uow: UnitOfWork, user_id: UUID) -> list[SecretInfo]:
        """The user's secrets without their values; a unit of work of the user will do."""
        return await store.list_of(uow, user_id)

    async def delete(self, uow: UnitOfWork, ref: SecretRef) -> None:
        """Delete a secret. Raises `not_found`."""
        secret_id = await store.delete(uow, ref)
        if secret_id is None:
            raise unknown(ref)
        await self._changed(uow, "vault.secret_deleted", ref, secret_id, None)

    async def find(self, uow: UnitOfWork, refs: Sequence[SecretRef]) -> dict[SecretRef, Sealed]:
        """The sealed values of those that exist."""
        return await store.find(uow, refs) if refs else {}

    async def open(self, sealed: Sealed) -> Secret:
        """Open a value. Raises `secret_unreadable`, `keys_unavailable`."""
        secret = await envelope.open_(self._keys, sealed)
        self._used[secret.slot.secret_id] = self._clock.now()
        return secret

    async def reveal(self, uow: UnitOfWork, ref: SecretRef) -> Secret:
        """Find and open one, within the transaction: for keys that are near.

        Raises `not_found`, `secret_unreadable`, `keys_unavailable`.
        """
        found = await self.find(uow, [ref])
        if ref not in found:
            raise unknown(ref)
        return await self.open(found[ref])

    async def current_key(self) -> str:
        """The id of the key that wraps now."""
        return await self._keys.current()

    async def rotate_key(self) -> str:
        """Make a new key-encryption key; what older ones wrapped stays as it is until `rewrap`."""
        return await self._keys.rotate()

    async def stale(
        self, uow: UnitOfWork, kek_id: str, after: UUID | None = None, limit: int = 100
    ) -> Sequence[Sealed]:
        """Values of all users that another key wraps, in order of their ids after `after`."""
        return await store.stale(uow, kek_id, after, limit)

    async def rewrap(self, sealed: Sealed) -> Sealed:
        """The same ciphertext, its data key wrapped by the key in use."""
        return await envelope.rewrap(self._keys, sealed)

    async def put_rewrapped(self, uow: UnitOfWork, sealed: Sealed, before: str) -> bool:
        """Write a re-wrapped data key; False if the value was replaced meanwhile."""
        return await store.rewrap(uow, sealed, before)

    async def record_use(self, uow: UnitOfWork) -> None:
        """Write when secrets were used last; called now and then, apart from requests."""
        uses, self._used = sorted(self._used.items()), {}
        if uses:
            await store.mark_used(uow, uses)

    async def _changed(
        self, uow: UnitOfWork, action: str, ref: SecretRef, secret_id: UUID, version: int | None
    ) -> None:
        # Tokens come and go every hour; their connection has audit rows of its own.
        if ref.scope != "oauth":
            details = {"scope": ref.scope, "name": ref.name, "version": version}
            await audit.record(uow, action, f"secret:{secret_id}", details)
        uow.after_commit(lambda: self._wakeups.wake(changes_of(ref.user_id)))


def unknown(ref: SecretRef) -> AppError:
    """The error for a secret that does not exist, or not for this owner."""
    return AppError(
        Code.NOT_FOUND,
        f"There is no {ref.scope} secret named {ref.name}.",
        hint="List yours with `GET /v1/secrets`.",
    )


def taken() -> AppError:
    """The error for a slot that somebody else filled in between."""
    return AppError(
        Code.CONFLICT, "The secret was changed at the same time.", hint="Send it again."
    )
