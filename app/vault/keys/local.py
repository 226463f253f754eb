"""Keys in files of the home folder, one file a key; the one with the highest number is in use.

Who has the folder has the secrets: right for one machine. Several machines share the folder or
use one of the other back ends.
"""

import asyncio
import re
from pathlib import Path

from app.kernel.crypto import key_id, load_or_create_key, seal, unseal
from app.kernel.errors import AppError, Code
from app.vault.keys.base import Wrapped, not_ours

_FILE = re.compile(r"([0-9]{6})\.key")
_FIRST = 1


class LocalKeys:
    """Reads its folder again when it meets a key it does not know: another process rotated."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._keys: dict[str, bytes] = {}

    async def current(self) -> str:
        """The id of the newest key, made at first use."""
        return (await asyncio.to_thread(self._newest))[0]

    async def wrap(self, data_key: bytes, binding: bytes) -> Wrapped:
        """Encrypt with the newest key: AES-256-GCM."""
        name, key = await asyncio.to_thread(self._newest)
        return Wrapped(name, seal(key, data_key, binding))

    async def unwrap(self, kek_id: str, blob: bytes, binding: bytes) -> bytes:
        """Decrypt with the key of that id."""
        if kek_id not in self._keys:
            await asyncio.to_thread(self._read)
        if (key := self._keys.get(kek_id)) is None:
            raise not_ours()
        try:
            return unseal(key, blob, binding)
        except AppError as error:
            raise not_ours() from error

    async def rotate(self) -> str:
        """Make the next key. Of two processes that do so at once, both get the same one."""
        return await asyncio.to_thread(self._rotate)

    def _rotate(self) -> str:
        last = max(self._numbers(), default=_FIRST - 1)
        return self._load(last + 1)[0]

    def _newest(self) -> tuple[str, bytes]:
        return self._load(max(self._numbers(), default=_FIRST))

    def _read(self) -> None:
        for number in self._numbers():
            self._load(number)

    def _load(self, number: int) -> tuple[str, bytes]:
        key = load_or_create_key(self._folder / f"{number:06d}.key")
        name = f"local:{key_id(key)}"
        self._keys[name] = key
        return name, key

    def _numbers(self) -> list[int]:
        try:
            names = [path.name for path in self._folder.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise AppError(
                Code.KEYS_UNAVAILABLE,
                f"The folder of keys {self._folder} cannot be read: {error.strerror}.",
                hint="Check the home folder's rights; `uaol doctor` shows them.",
            ) from error
        return [int(found[1]) for name in names if (found := _FILE.fullmatch(name))]
