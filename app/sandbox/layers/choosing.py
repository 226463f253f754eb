"""Reads the resolver's answers and picks, of each package, the one wheel that fits best."""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from app.sandbox.layers.lock import Wheel
from app.sandbox.layers.refusals import refused

Ranks = Mapping[Tag, int]


def read_pins(text: str) -> dict[str, str]:
    """Names and versions of a resolution in the form of a requirements file. Raises ValueError."""
    lines = (line.strip() for line in text.splitlines())
    return dict(_pin(line) for line in lines if line and not line.startswith("#"))


def local_wheel(name: str, version: str, wheels: Iterable[Path], ranks: Ranks) -> Wheel | None:
    """The best of these files for that version, without its hash."""
    fitting = [
        (rank, path.name, path)
        for path in wheels
        if (rank := _rank(path.name, name, version, ranks)) is not None
    ]
    if not fitting:
        return None
    _, filename, path = min(fitting)
    return Wheel(name, version, filename, "", str(path))


def index_wheels(text: str, ranks: Ranks) -> list[Wheel]:
    """The best file of each package of a `pylock.toml` (PEP 751), with its URL and hash.

    Raises AppError(SANDBOX_REQUIREMENT_REFUSED) for a package without one that fits, and
    ValueError or KeyError where `text` is not what it should be.
    """
    return [_of_index(package, ranks) for package in tomllib.loads(text).get("packages", [])]


def _of_index(package: Mapping[str, Any], ranks: Ranks) -> Wheel:
    name, version = str(canonicalize_name(package["name"])), str(package["version"])
    fitting = [
        (rank, _filename(one), one)
        for one in package.get("wheels", [])
        if (rank := _rank(_filename(one), name, version, ranks)) is not None
    ]
    if not fitting:
        raise refused(f"{name} {version}", "it has no wheel for the sandbox's Python and system")
    _, filename, best = min(fitting, key=lambda found: found[:2])
    place = urlsplit(str(best["url"]))
    sha256 = best.get("hashes", {}).get("sha256")
    if place.scheme not in ("https", "http") or not sha256:
        raise refused(f"{name} {version}", "the index gives no address or no SHA-256 for it")
    return Wheel(name, version, filename, sha256, place._replace(fragment="").geturl())


def _pin(line: str) -> tuple[str, str]:
    name, equal, version = line.partition("==")
    if not equal:
        raise ValueError(line)
    return str(canonicalize_name(name)), version.strip()


def _filename(wheel: Mapping[str, Any]) -> str:
    last = unquote(urlsplit(str(wheel.get("url", ""))).path).rpartition("/")[2]
    return str(wheel.get("name") or last)


def _rank(filename: str, name: str, version: str, ranks: Ranks) -> int | None:
    try:
        found, its_version, _, tags = parse_wheel_filename(filename)
    except InvalidWheelFilename:
        return None
    if (found, its_version) != (name, Version(version)):
        return None
    return min((ranks[tag] for tag in tags if tag in ranks), default=None)
