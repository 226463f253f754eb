"""Credentials seen a moment ago, so that a request in a burst asks the database for none."""

from collections import OrderedDict
from uuid import UUID

from app.auth.types import Credential
from app.kernel.clock import Clock


class CredentialCache:
    """Credentials by the hash of their secret, each for `ttl_s` seconds; the oldest leave first.

    A key revoked by another process lives on here for at most `ttl_s`.
    """

    def __init__(self, clock: Clock, *, ttl_s: float = 5.0, max_entries: int = 10_000) -> None:
        self._clock = clock
        self._ttl_s = ttl_s
        self._max_entries = max_entries
        self._entries: OrderedDict[bytes, tuple[float, Credential]] = OrderedDict()
        self._generation = 0

    def get(self, secret_hash: bytes) -> Credential | None:
        """The credential, if it was put here less than `ttl_s` ago."""
        entry = self._entries.get(secret_hash)
        if entry is None:
            return None
        until, credential = entry
        if self._clock.monotonic() < until:
            return credential
        del self._entries[secret_hash]
        return None

    def ticket(self) -> int:
        """Taken before the row is read and given to `put` with what was read."""
        return self._generation

    def put(self, secret_hash: bytes, credential: Credential, ticket: int) -> None:
        """Keep a credential, unless a key was revoked since the ticket was taken."""
        if ticket != self._generation:
            return
        self._entries[secret_hash] = (self._clock.monotonic() + self._ttl_s, credential)
        self._entries.move_to_end(secret_hash)
        if len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)

    def forget(self, key_id: UUID) -> None:
        """Drop a revoked key, and what is being read just now."""
        self._generation += 1
        for secret_hash, (_, credential) in list(self._entries.items()):
            if credential.key_id == key_id:
                del self._entries[secret_hash]
