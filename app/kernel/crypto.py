"""Keys of this installation, each a file of its own that only its owner can read, and what is
sealed with them.
"""

import contextlib
import errno
import hashlib
import os
import secrets
from pathlib import Path

from app.kernel.errors import AppError, Code

KEY_BYTES = 32
_NONCE_BYTES = 12
_OTHERS = 0o077
_FULL = {errno.ENOSPC, errno.EDQUOT}


def load_or_create_key(path: Path) -> bytes:
    """The 32 random bytes in `path`, made at first use with mode 0600.

    Any number of processes may call this at once: all get the same key, and none sees half of
    one. Raises `config_invalid` for a file that is no such key or that others can read,
    `storage_full` or `hub_not_writable` if it cannot be made.
    """
    try:
        if not path.exists():
            _create(path)
        return _read(path)
    except OSError as error:
        raise _failure(path, error) from error


def _create(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        # A link is as exclusive as O_EXCL, and shows the name only with all bytes behind it.
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _read(path: Path) -> bytes:
    if path.stat().st_mode & _OTHERS:
        raise _invalid(path, "can be read by others", f"Run `chmod 600 {path}`.")
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise _invalid(path, f"is not {KEY_BYTES} bytes long", "Remove it to have a new one made.")
    return key


def _invalid(path: Path, what: str, hint: str) -> AppError:
    return AppError(Code.CONFIG_INVALID, f"The key file {path} {what}.", hint=hint)


def _failure(path: Path, error: OSError) -> AppError:
    code = Code.STORAGE_FULL if error.errno in _FULL else Code.HUB_NOT_WRITABLE
    return AppError(
        code,
        f"The key file {path} cannot be made or read: {error.strerror}.",
        hint="Check the home folder's space and rights; `uaol doctor` shows both.",
    )


def key_id(key: bytes) -> str:
    """A short name of a key that tells nothing about it."""
    return hashlib.sha256(b"uaol key id\0" + key).hexdigest()[:16]


def seal(key: bytes, secret: bytes, context: bytes) -> bytes:
    """Encrypt a small secret for the database: AES-256-GCM (NIST SP 800-38D), random nonce.

    `context` says what it belongs to; it is opened with the same one only.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, secret, context)


def unseal(key: bytes, sealed: bytes, context: bytes) -> bytes:
    """What `seal` encrypted; `config_invalid` for another key, another context or other bytes."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    try:
        return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context)
    except (InvalidTag, ValueError) as error:
        raise AppError(
            Code.CONFIG_INVALID,
            "A stored secret cannot be read with this installation's key.",
            hint="Put the key file it was made with back, or make a new secret.",
        ) from error
