"""Signatures of messages, as Standard Webhooks 1.0 has them.

Signed is `<id>.<timestamp>.<body>` with HMAC-SHA256; the secret's bytes are what follows `whsec_`
in base64. While two secrets are valid a message carries a signature by each.
Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hmac
import secrets
from collections.abc import Mapping, Sequence

_PREFIX = "whsec_"
_SECRET_BYTES = 32


def new_secret() -> bytes:
    """256 random bits."""
    return secrets.token_bytes(_SECRET_BYTES)


def shown(secret: bytes) -> str:
    """A secret as its owner gets it, once."""
    return _PREFIX + base64.b64encode(secret).decode()


def signature(secret: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """One signature: `v1,` and base64."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()


def headers(
    signed_by: Sequence[bytes], message_id: str, timestamp: int, body: bytes
) -> Mapping[str, str]:
    """The headers of a message; `timestamp` is in Unix seconds, of this attempt."""
    signatures = [signature(secret, message_id, timestamp, body) for secret in signed_by]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }
