"""Where packages may come from: the operator's wheelhouse and index, never a caller's."""

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from app.kernel.errors import AppError, Code

_NETWORK = (
    "HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "https_proxy", "http_proxy",
    "all_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR",
)  # fmt: skip

_PATIENCE = {"UV_HTTP_RETRIES": "1", "UV_HTTP_TIMEOUT": "20"}


@dataclass(frozen=True)
class Sources:
    """A folder of wheels, an index (PEP 503 or 691), both or neither. The URL may hold a secret."""

    wheelhouse: Path | None = None
    index: str = ""

    def __repr__(self) -> str:
        return f"Sources(wheelhouse={self.wheelhouse}, index={'yes' if self.index else 'no'})"

    def __bool__(self) -> bool:
        return bool(self.wheelhouse or self.index)

    def names(self) -> list[str]:
        """The wheels in the wheelhouse as `name==version`, sorted; other files are passed over."""
        parsed = (_parsed(path.name) for path in self.wheels())
        return sorted({f"{one[0]}=={one[1]}" for one in parsed if one is not None})

    def fingerprint(self) -> str:
        """Changes whenever the answers may: with any wheel, and with the index's address."""
        digest = hashlib.sha256(self.index.encode())
        for path in self.wheels():
            facts = path.stat()
            digest.update(f"\n{path.name}\0{facts.st_size}\0{facts.st_mtime_ns}".encode())
        return digest.hexdigest()

    def options(self) -> list[str]:
        """The resolver's options for these sources; the index goes by the environment."""
        found = [] if self.wheelhouse is None else ["--find-links", str(self.wheelhouse)]
        return found if self.index else [*found, "--no-index", "--offline"]

    def environment(self) -> dict[str, str]:
        """What the resolver must know of the way to the index, which `ps` must not show."""
        if not self.index:
            return {}
        network = {name: os.environ[name] for name in _NETWORK if name in os.environ}
        return {**network, **_PATIENCE, "UV_DEFAULT_INDEX": self.index}

    def redacted(self, text: str) -> str:
        """`text` without this machine's paths and the index's address."""
        if self.wheelhouse is not None:
            text = text.replace(str(self.wheelhouse), "the wheelhouse")
        if self.index:
            text = text.replace(self.index, "the index").replace(_bare(self.index), "the index")
        return text

    def wheels(self) -> list[Path]:
        """The files of the wheelhouse that are named as wheels, sorted."""
        if self.wheelhouse is None:
            return []
        with os.scandir(self.wheelhouse) as found:
            names = [one.name for one in found if _parsed(one.name) and one.is_file()]
        return [self.wheelhouse / name for name in sorted(names)]


def open_sources(wheelhouse: Path | None, index: str | None) -> Sources:
    """The sources of the settings. Raises AppError(CONFIG_INVALID) that names the setting."""
    if wheelhouse is not None:
        wheelhouse = wheelhouse.expanduser().resolve()
        if not wheelhouse.is_dir():
            raise _unusable(
                "UAOL_SANDBOX_WHEELHOUSE", "is not a folder", "Name a folder of wheels."
            )
    if index:
        parts = urlsplit(index)
        if parts.scheme not in ("https", "http") or not parts.hostname or parts.fragment:
            hint = "Give the https:// address of a package index (its `simple` page)."
            raise _unusable("UAOL_SANDBOX_INDEX", "is not the address of an index", hint)
    return Sources(wheelhouse, index or "")


def _unusable(setting: str, problem: str, hint: str) -> AppError:
    return AppError(Code.CONFIG_INVALID, f"{setting} {problem}.", hint=hint)


def _bare(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


@lru_cache(maxsize=10_000)
def _parsed(filename: str) -> tuple[str, str] | None:
    """Name and version of the wheel that a file is named as."""
    try:
        name, version, _, _ = parse_wheel_filename(filename)
    except InvalidWheelFilename:
        return None
    return name, str(version)
