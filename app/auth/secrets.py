"""The secrets of API keys: how they are made, recognised and hashed.

A secret is 256 random bits, so guessing it is hopeless at any speed, and one SHA-256 is enough:
slow hashes exist for passwords, which people choose. A key is found by an index look-up of that
hash. What the look-up's time could tell is how a hash compares, and nobody can steer a hash
without knowing the secret, so no constant-time comparison is needed either.
"""

import hashlib
import re
import secrets

_MARK = "uaol_"
_PREFIX_LENGTH = 12
_FORM = re.compile(r"uaol_[A-Za-z0-9_-]{43}")


def new_secret() -> str:
    """A new secret: a mark that scanners and logs recognise, then 43 URL-safe characters."""
    return _MARK + secrets.token_urlsafe(32)


def is_secret(text: str) -> bool:
    """Whether `text` has the form of a secret, so that anything else costs no look-up."""
    return _FORM.fullmatch(text) is not None


def prefix_of(secret: str) -> str:
    """The part that may be shown: it tells keys apart and leaves more than 200 bits unknown."""
    return secret[:_PREFIX_LENGTH]


def hash_of(secret: str) -> bytes:
    """What is stored in place of the secret: 32 bytes."""
    return hashlib.sha256(secret.encode()).digest()
