"""`requestState` of multi-round-trip requests: sealed, for one user, one tool and one day.

The key is the installation's, so any process answers the next round. What the state says is
never trusted alone: whatever it names is looked up again with the caller's own rights.
"""

from functools import cached_property
from pathlib import Path

from mcp.server.request_state import (
    AESGCMRequestStateCodec,
    RequestStateBoundary,
    RequestStateSecurity,
)

from app.kernel.crypto import KEY_BYTES, load_or_create_key
from app.kernel.errors import AppError, Code
from app.kernel.settings import Settings
from app.surfaces.mcp.calls import Call, Context

AUDIENCE = "uaol"
# People approve things the next morning.
TTL_S = 24 * 3600.0


def make_boundary(settings: Settings) -> RequestStateBoundary:
    """The middleware that seals what goes out and opens what comes back."""
    security = RequestStateSecurity(codec=_Sealing(settings), ttl=TTL_S, bind_principal=_owner)
    return RequestStateBoundary(security, default_audience=AUDIENCE)


def request_state_keys(settings: Settings) -> list[bytes]:
    """The keys, the first of which seals; `config_invalid` for one that is too short."""
    if settings.request_state_keys is None:
        home: Path = settings.home.expanduser().resolve()
        return [load_or_create_key(home / "secrets" / "request_state.key")]
    given = settings.request_state_keys.get_secret_value().split(",")
    keys = [key.strip().encode() for key in given if key.strip()]
    if not keys or any(len(key) < KEY_BYTES for key in keys):
        raise AppError(
            Code.CONFIG_INVALID,
            f"UAOL_REQUEST_STATE_KEYS needs secrets of at least {KEY_BYTES} characters.",
            hint='Make one with: python -c "import secrets; print(secrets.token_hex(32))"',
        )
    return keys


class _Sealing:
    """AES-256-GCM; the key is read when first needed, not by every process that could."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def _codec(self) -> AESGCMRequestStateCodec:
        return AESGCMRequestStateCodec(request_state_keys(self._settings))

    def seal(self, payload: bytes) -> str:
        return self._codec.seal(payload)

    def unseal(self, token: str) -> bytes:
        return self._codec.unseal(token)


def _owner(context: Context) -> str:
    return str(Call.of(context).principal.owner)
