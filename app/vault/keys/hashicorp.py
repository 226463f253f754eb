"""Keys in HashiCorp Vault's transit engine: data keys go in and come out, keys never leave.

https://developer.hashicorp.com/vault/api-docs/secret/transit. The key is one of type
`aes256-gcm96`; its versions are Vault's own, and `rotate` adds one. The binding travels as
`associated_data`.
"""

import asyncio
import base64
import binascii
from collections.abc import Callable
from typing import Any, TypeVar

from app.kernel.errors import AppError, Code
from app.vault.keys.base import Wrapped, not_ours, unavailable

_TIMEOUT_S = 5.0
_HINT = "Check UAOL_VAULT_ADDRESS, its token's policy, and that Vault is unsealed."
_ResultT = TypeVar("_ResultT")


class HashicorpKeys:
    """One named key of a transit engine."""

    def __init__(
        self,
        address: str,
        token: str,
        *,
        key: str = "uaol",
        mount: str = "transit",
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        """Raises `config_invalid` without the extra `hashicorp`."""
        self._key, self._mount = key, mount
        self._client = _client(address, token, timeout_s)

    async def current(self) -> str:
        """The newest version of the key."""
        return self._id(await self._version())

    async def wrap(self, data_key: bytes, binding: bytes) -> Wrapped:
        """Encrypt with the newest version."""
        given = {"plaintext": _text(data_key), "associated_data": _text(binding)}
        data = await self._ask(lambda: self._post(f"encrypt/{self._key}", given))
        blob = _field(data, "ciphertext", str)
        return Wrapped(self._id(_version_of(blob)), blob.encode())

    async def unwrap(self, kek_id: str, blob: bytes, binding: bytes) -> bytes:
        """Decrypt; Vault finds the version in the ciphertext itself."""
        text = blob.decode("ascii", "replace")
        if kek_id != self._id(_version_of(text)):
            raise not_ours()
        given = {"ciphertext": text, "associated_data": _text(binding)}
        data = await self._ask(lambda: self._post(f"decrypt/{self._key}", given), is_opening=True)
        try:
            return base64.b64decode(_field(data, "plaintext", str), validate=True)
        except binascii.Error as error:
            raise _odd() from error

    async def rotate(self) -> str:
        """Add a version to the key."""
        await self._ask(lambda: self._post(f"keys/{self._key}/rotate", {}))
        return await self.current()

    async def _version(self) -> int:
        path = f"{self._mount}/keys/{self._key}"
        data = await self._ask(lambda: self._client.read(path))
        return int(_field(data, "latest_version", int))

    def _id(self, version: int) -> str:
        return f"hashicorp:{self._mount}/{self._key}:v{version}"

    def _post(self, path: str, given: dict[str, str]) -> Any:
        return self._client.write_data(f"{self._mount}/{path}", data=given)

    async def _ask(self, call: Callable[[], Any], *, is_opening: bool = False) -> Any:
        """Run one call of the client, which blocks, in a thread; its faults as `AppError`s."""
        from hvac.exceptions import InvalidRequest, VaultError
        from requests import RequestException

        try:
            return await asyncio.to_thread(call)
        except InvalidRequest as error:
            if is_opening:
                raise not_ours() from error
            raise unavailable("hashicorp", "refuse the request (HTTP 400)", _HINT) from error
        except VaultError as error:
            reason = f"refuse us ({type(error).__name__})"
            raise unavailable("hashicorp", reason, _HINT) from error
        except (RequestException, ValueError) as error:
            reason = f"cannot be reached ({type(error).__name__})"
            raise unavailable("hashicorp", reason, _HINT) from error


def _client(address: str, token: str, timeout_s: float) -> Any:
    try:
        import hvac
        import requests
    except ImportError as error:
        raise AppError(
            Code.CONFIG_INVALID,
            "The back end hashicorp needs a package that is not installed.",
            hint="Run `pip install 'uaol[hashicorp]'`.",
        ) from error
    session = requests.Session()
    session.trust_env = False
    return hvac.Client(
        url=address, token=token, timeout=timeout_s, session=session, allow_redirects=False
    )


def _field(answer: Any, name: str, kind: type[_ResultT]) -> _ResultT:
    data = answer.get("data") if isinstance(answer, dict) else None
    value = data.get(name) if isinstance(data, dict) else None
    if not isinstance(value, kind):
        raise _odd()
    return value


def _odd() -> AppError:
    return unavailable("hashicorp", "gave an answer that is none of Vault's", _HINT)


def _version_of(ciphertext: str) -> int:
    """The version in `vault:v3:...`; 0, which none has, for anything else."""
    parts = ciphertext.split(":", 2)
    number = parts[1][1:] if len(parts) == 3 and parts[0] == "vault" else ""
    return int(number) if number.isascii() and number.isdecimal() else 0


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
