"""Signed download links: who holds one may read one file until it expires, without a key."""

import hashlib
import hmac
from datetime import datetime
from uuid import UUID

from app.kernel.errors import AppError, Code

# Names the purpose and the version, so that no other use of the key yields a valid link.
_PURPOSE = b"uaol file link 1\x00"


class LinkSigner:
    """HMAC-SHA256 over the file's id and the second (Unix time) at which the link expires."""

    def __init__(self, key: bytes) -> None:
        if len(key) < hashlib.sha256().digest_size:
            raise ValueError("the signing key must have at least 32 bytes")
        self._key = key

    def sign(self, file_id: UUID, expires: int) -> str:
        """The signature, in hex."""
        message = _PURPOSE + file_id.bytes + expires.to_bytes(8, "big")
        return hmac.new(self._key, message, hashlib.sha256).hexdigest()

    def verify(self, file_id: UUID, expires: int, signature: str, now: datetime) -> None:
        """Raise `link_invalid` unless the signature is right and the link has not expired."""
        is_possible = 0 <= expires < 2**63
        expected = self.sign(file_id, expires if is_possible else 0)
        is_genuine = hmac.compare_digest(expected.encode(), signature.encode(errors="replace"))
        if is_possible and is_genuine and now.timestamp() < expires:
            return
        raise AppError(
            Code.LINK_INVALID,
            "The download link is wrong or has expired.",
            hint="Ask for the file's link again.",
        )
