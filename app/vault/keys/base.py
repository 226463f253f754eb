"""The seam between the vault and whatever keeps its keys."""

from typing import NamedTuple, Protocol

from app.kernel.errors import AppError, Code


class Wrapped(NamedTuple):
    """A wrapped data key and the id of the key that wrapped it."""

    kek_id: str
    blob: bytes


class KeyBackend(Protocol):
    """Wraps 32-byte data keys. The key-encryption keys themselves never leave it.

    Every method raises `keys_unavailable` while the back end cannot be reached or refuses us.
    """

    async def current(self) -> str:
        """The id of the key that `wrap` uses now."""
        ...

    async def wrap(self, data_key: bytes, binding: bytes) -> Wrapped:
        """Encrypt a data key; it is opened with the same binding only."""
        ...

    async def unwrap(self, kek_id: str, blob: bytes, binding: bytes) -> bytes:
        """The data key. Raises `secret_unreadable` for a key, bytes or binding that do not fit."""
        ...

    async def rotate(self) -> str:
        """Make a new key for all that is wrapped from now on; older ones go on to unwrap."""
        ...


def unavailable(backend: str, reason: str, hint: str) -> AppError:
    """The error for a back end that gives no answer; `reason` holds no secret."""
    return AppError(Code.KEYS_UNAVAILABLE, f"The keys of secrets ({backend}) {reason}.", hint=hint)


def not_ours() -> AppError:
    """The error for a wrapped key that the back end refuses to open."""
    return AppError(
        Code.SECRET_UNREADABLE,
        "A stored secret cannot be opened: it was changed, or its key is not here.",
        hint="Set the secret again, or give the platform the key it was sealed with.",
    )
