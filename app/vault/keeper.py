"""Whole acts on secrets: short transactions, and between them what the keys' back end must do."""

from collections.abc import Sequence

from app.kernel.errors import AppError, Code
from app.kernel.principal import SERVICE, Principal
from app.kernel.uow import Transactions
from app.vault.service import Vault, taken, unknown
from app.vault.types import Secret, SecretInfo, SecretRef

_TRIES = 5


class SecretKeeper:
    """For those who hold no transaction of their own, so that none waits for a distant key."""

    def __init__(self, vault: Vault, transactions: Transactions) -> None:
        self.vault = vault
        self._transactions = transactions

    async def set(
        self,
        principal: Principal,
        ref: SecretRef,
        value: bytes,
        origins: tuple[str, ...] | None = None,
        *,
        must_exist: bool = False,
    ) -> SecretInfo:
        """Give a secret a value: a new secret, or its next version.

        `origins` are those it may be sent to; None keeps what they were. Of several at once each
        writes a version of its own. Raises `not_found` if it must exist, `conflict`,
        `keys_unavailable`.
        """
        for _ in range(_TRIES):
            async with self._transactions.begin(principal.elevated()) as uow:
                slot, before = await self.vault.slot(uow, ref)
            if must_exist and slot.version == 1:
                raise unknown(ref)
            allowed = before if origins is None else origins
            sealed = await self.vault.seal(slot, value, allowed)
            try:
                async with self._transactions.begin(principal.elevated()) as uow:
                    return await self.vault.put(uow, ref, sealed)
            except AppError as error:
                if error.message != taken().message:
                    raise
        raise taken()

    async def get(self, principal: Principal, refs: Sequence[SecretRef]) -> dict[SecretRef, Secret]:
        """Open those that exist. Raises `secret_unreadable`, `keys_unavailable`."""
        async with self._transactions.begin(principal.elevated()) as uow:
            found = await self.vault.find(uow, refs)
        return {ref: await self.vault.open(sealed) for ref, sealed in found.items()}

    async def delete(self, principal: Principal, ref: SecretRef) -> None:
        """Delete a secret. Raises `not_found`."""
        async with self._transactions.begin(principal.elevated()) as uow:
            await self.vault.delete(uow, ref)

    async def rewrap_all(self) -> tuple[int, int]:
        """Wrap every data key by the key in use, one after the other.

        How many it wrapped, and how many could not be opened, which stay as they are. May be
        stopped and begun again at any time.
        """
        current, after = await self.vault.current_key(), None
        done = unreadable = 0
        while True:
            async with self._transactions.begin(SERVICE) as uow:
                stale = await self.vault.stale(uow, current, after)
            if not stale:
                return done, unreadable
            for sealed in stale:
                try:
                    fresh = await self.vault.rewrap(sealed)
                except AppError as error:
                    if error.code is not Code.SECRET_UNREADABLE:
                        raise
                    unreadable += 1
                    continue
                async with self._transactions.begin(SERVICE) as uow:
                    done += await self.vault.put_rewrapped(uow, fresh, sealed.kek_id)
            after = stale[-1].slot.secret_id
