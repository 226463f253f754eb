"""Stand-ins for what the sandbox has installed, so that the resolver takes it as it is.

The resolver must neither fetch what is there nor choose another version of it: the sandbox's own
packages come first on `sys.path`. A stand-in is a wheel of nothing but a name and a version, and
it has no requirements of its own: what is installed is taken to be complete.
"""

import hashlib
import json
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

from packaging.version import InvalidVersion, Version


def stand_ins(folder: Path, installed: Mapping[str, str]) -> tuple[Path, str]:
    """A folder of them below `folder`, made once for each set, and the lines that pin them."""
    known = {name: version for name, version in sorted(installed.items()) if _is_normal(version)}
    digest = hashlib.sha256(json.dumps(known).encode()).hexdigest()[:32]
    made = folder / digest
    if not made.is_dir():
        _make(made, known)
    return made, "".join(f"{name}=={version}\n" for name, version in known.items())


def _make(place: Path, known: Mapping[str, str]) -> None:
    draft = place.with_name(f".{uuid4().hex}")
    draft.mkdir(parents=True)
    try:
        for name, version in known.items():
            _write(draft, name.replace("-", "_"), str(Version(version)))
        draft.rename(place)
    except FileExistsError:
        pass
    except OSError:
        if not place.is_dir():
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write(folder: Path, name: str, version: str) -> None:
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        wheel.writestr(f"{info}/METADATA", metadata)
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def _is_normal(version: str) -> bool:
    try:
        Version(version)
    except InvalidVersion:
        return False
    return True
