"""Named data sets that every sandbox sees, read-only, as `/data/<name>`: genomes and the like.

The operator names them in one setting: a folder whose subfolders are the volumes (with an optional
`volumes.json` beside them that describes them), or a JSON object of name to path or to
`{"path", "title", "description", "licence"}`. A place that holds secrets is refused at start.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.kernel.errors import AppError, Code
from app.sandbox.links import Mounted

DATA = "/data"
_SETTING = "UAOL_SANDBOX_VOLUMES"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_DESCRIPTIONS = "volumes.json"
_FACTS = ("title", "description", "licence")
_LONGEST_FACT = 1000
_LISTED = 10_000
_CLOSED = ("/etc", "/proc", "/sys", "/dev", "/run", "/boot", "/var/run", "/var/lib/docker")


@dataclass(frozen=True)
class Volume:
    """A data set: a folder of the host and what people should know of it."""

    name: str
    path: Path
    title: str = ""
    description: str = ""
    licence: str = ""

    @property
    def target(self) -> str:
        """Where a task finds it."""
        return f"{DATA}/{self.name}"

    def listing(self) -> dict[str, Any]:
        """What it is and its files with their sizes, in the order of names, up to a number.

        Reads the folder: not for an event loop.
        """
        files: list[dict[str, Any]] = []
        is_complete = True
        for path in _regular_files(self.path):
            if len(files) == _LISTED:
                is_complete = False
                break
            files.append({"name": path.relative_to(self.path).as_posix(), "size": _size(path)})
        known = {fact: getattr(self, fact) for fact in _FACTS if getattr(self, fact)}
        return {
            "name": self.name, **known, "mounted_at": self.target, "files": files,
            "is_complete": is_complete,
        }  # fmt: skip


class Volumes:
    """The data sets of this server."""

    def __init__(self, volumes: Sequence[Volume] = ()) -> None:
        self._volumes = {volume.name: volume for volume in volumes}

    def all(self) -> tuple[Volume, ...]:
        """Every one, in the order of names."""
        return tuple(self._volumes[name] for name in sorted(self._volumes))

    def get(self, name: str) -> Volume | None:
        """The one of that name."""
        return self._volumes.get(name)

    @property
    def mounts(self) -> tuple[Mounted, ...]:
        """What every room mounts."""
        return tuple(Mounted(volume.path, volume.target) for volume in self.all())

    def describe(self) -> str:
        """A sentence for the tool's description; empty without volumes."""
        if not self._volumes:
            return ""
        shown = "; ".join(_described(volume) for volume in self.all())
        return f"Read-only data sets: {shown}."


def open_volumes(setting: str | None, secret: Sequence[Path] = ()) -> Volumes:
    """The volumes of the setting; `secret` are further folders that none may show.

    Raises AppError(CONFIG_INVALID) that names the volume.
    """
    if not setting or not setting.strip():
        return Volumes()
    is_json = setting.lstrip().startswith("{")
    found = _of_json(setting) if is_json else _of_folder(Path(setting).expanduser())
    closed = [path.expanduser().resolve() for path in (Path.home(), *secret)]
    return Volumes([_checked(volume, closed) for volume in found])


def _of_json(text: str) -> list[Volume]:
    entries = _object(text, "is not a JSON object")
    return [_of_entry(name, entry) for name, entry in entries.items()]


def _of_entry(name: str, entry: object) -> Volume:
    facts = {"path": entry} if isinstance(entry, str) else entry
    if not isinstance(facts, dict) or not isinstance(facts.get("path"), str):
        raise _invalid(name, "needs a `path`")
    return _volume(name, Path(facts["path"]).expanduser(), facts)


def _of_folder(folder: Path) -> list[Volume]:
    if not folder.is_dir():
        raise AppError(
            Code.CONFIG_INVALID,
            f"{_SETTING} is neither a folder nor a JSON object.",
            hint="Name a folder whose subfolders are the volumes.",
        )
    described = folder / _DESCRIPTIONS
    facts = (
        _object(described.read_text("utf-8"), "is not a JSON object") if described.exists() else {}
    )
    found = (path.name for path in folder.iterdir() if path.is_dir())
    names = sorted(name for name in found if not name.startswith(".") and name != "lost+found")
    for name in facts:
        if name not in names:
            raise _invalid(name, f"is described in {_DESCRIPTIONS}, but there is no such folder")
    return [_volume(name, folder / name, facts.get(name, {})) for name in names]


def _volume(name: str, path: Path, facts: object) -> Volume:
    if not _NAME.fullmatch(name):
        raise _invalid(name, "is no name: use small letters, digits, `.`, `_` and `-`")
    if not isinstance(facts, dict) or set(facts) - {"path", *_FACTS}:
        raise _invalid(name, f"may have {', '.join(_FACTS)} and nothing else")
    told = {fact: facts[fact] for fact in _FACTS if fact in facts}
    if not all(_is_text(value) for value in told.values()):
        raise _invalid(name, "has a description that is no plain text")
    return Volume(name, path, **told)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.isprintable() and len(value) <= _LONGEST_FACT


def _checked(volume: Volume, closed: Sequence[Path]) -> Volume:
    """The volume at its real place, if that is one that may be shown."""
    if not volume.path.is_absolute():
        raise _invalid(volume.name, "needs an absolute path")
    path = _real(volume.path)
    if path is None or not _is_readable(path):
        raise _invalid(volume.name, "is no folder that sandboxed code can read")
    if any(part.startswith(".") for part in path.parts):
        raise _invalid(volume.name, "lies in a hidden folder")
    for place in (*closed, *map(Path, _CLOSED)):
        if place.is_relative_to(path):
            raise _invalid(volume.name, "holds a home folder, secrets or the system's own files")
    # Below somebody's home there may be data; below the others there is nothing to show.
    for place in (*closed[1:], *map(Path, _CLOSED)):
        if path.is_relative_to(place):
            raise _invalid(volume.name, "lies among secrets or the system's own files")
    return Volume(volume.name, path, volume.title, volume.description, volume.licence)


def _is_readable(path: Path) -> bool:
    """Whether sandboxed code can read the folder, which is nobody's where the server is root."""
    if not path.is_dir() or not os.access(path, os.R_OK | os.X_OK):
        return False
    return os.geteuid() != 0 or path.stat().st_mode & 0o005 == 0o005


def _object(text: str, problem: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise AppError(
            Code.CONFIG_INVALID,
            f"{_SETTING}: what should name the volumes {problem}.",
            hint='Write {"name": "/absolute/path"}.',
        )
    return found


def _invalid(name: str, problem: str) -> AppError:
    return AppError(
        Code.CONFIG_INVALID,
        f"{_SETTING}: the volume {name[:100]!a} {problem}.",
        hint="Correct the setting; a volume is a folder of data that every user may read.",
        details={"volume": ascii(name[:100])},
    )


def _described(volume: Volume) -> str:
    licence = f"licence: {volume.licence}" if volume.licence else ""
    facts = ", ".join(fact for fact in (volume.title, volume.description, licence) if fact)
    return f"{volume.target} ({facts})" if facts else volume.target


def _regular_files(root: Path) -> Iterator[Path]:
    """Files below, sorted; a link only if it leads to a file of the same volume."""
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            real = _real(path)
            is_inside = real is not None and real.is_relative_to(root) and real.is_file()
            if is_inside and _is_nameable(path):
                yield path


def _real(path: Path) -> Path | None:
    """Where a path leads; None for a link that leads nowhere."""
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return None


def _is_nameable(path: Path) -> bool:
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
