"""One value, one data key: AES-256-GCM (NIST SP 800-38D) with a random key used exactly once.

The data key is wrapped by a key-encryption key that lives in a back end. Re-wrapping it for a
newer one never touches the ciphertext. Both seals authenticate the slot's binding, so that a row
copied to another tenant, secret or version does not open.
"""

import secrets

from app.kernel.crypto import KEY_BYTES, seal, unseal
from app.kernel.errors import AppError
from app.vault.keys import KeyBackend, not_ours
from app.vault.types import Sealed, Secret, Slot


async def close(keys: KeyBackend, slot: Slot, value: bytes, origins: tuple[str, ...]) -> Sealed:
    """Seal a value for its slot. Raises `keys_unavailable`."""
    data_key = secrets.token_bytes(KEY_BYTES)
    wrapped = await keys.wrap(data_key, slot.binding)
    ciphertext = seal(data_key, value, _context(slot, origins))
    return Sealed(slot, wrapped.kek_id, wrapped.blob, ciphertext, origins)


async def open_(keys: KeyBackend, sealed: Sealed) -> Secret:
    """The value. Raises `secret_unreadable` for anything but what was sealed for this slot."""
    slot = sealed.slot
    data_key = await keys.unwrap(sealed.kek_id, sealed.wrapped, slot.binding)
    try:
        value = unseal(data_key, sealed.ciphertext, _context(slot, sealed.origins))
    except AppError as error:
        raise not_ours() from error
    return Secret(slot, value, sealed.origins)


async def rewrap(keys: KeyBackend, sealed: Sealed) -> Sealed:
    """The same ciphertext, its data key wrapped by the newest key."""
    binding = sealed.slot.binding
    data_key = await keys.unwrap(sealed.kek_id, sealed.wrapped, binding)
    wrapped = await keys.wrap(data_key, binding)
    return Sealed(sealed.slot, wrapped.kek_id, wrapped.blob, sealed.ciphertext, sealed.origins)


def _context(slot: Slot, origins: tuple[str, ...]) -> bytes:
    """The slot and where the value may go, so that a row's origins cannot be widened either."""
    return slot.binding + "\n".join(origins).encode()
