"""Wheels made on the spot: honest ones, and every kind that is not."""

import base64
import hashlib
import struct
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path


def make_wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    files: Mapping[str, str | bytes] | None = None,
    requires: Sequence[str] = (),
    tag: str = "py3-none-any",
) -> Path:
    """A wheel with those files; by default one module that knows its version."""
    module = name.replace("-", "_")
    files = files if files is not None else {f"{module}.py": f"VERSION = {version!r}\n"}
    info = f"{module}-{version}.dist-info"
    path = folder / f"{module}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for entry, data in [*files.items(), *_metadata(info, name, version, requires, tag)]:
            wheel.writestr(entry, data)
        wheel.writestr(f"{info}/RECORD", _record(files))
    return path


def _metadata(
    info: str, name: str, version: str, requires: Sequence[str], tag: str
) -> list[tuple[str, str]]:
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    needs = "".join(f"Requires-Dist: {one}\n" for one in requires)
    root = f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n"
    return [(f"{info}/METADATA", head + needs), (f"{info}/WHEEL", root)]


def _record(files: Mapping[str, str | bytes]) -> str:
    lines = []
    for entry, data in files.items():
        raw = data.encode() if isinstance(data, str) else data
        digest = base64.urlsafe_b64encode(hashlib.sha256(raw).digest()).rstrip(b"=").decode()
        lines.append(f"{entry},sha256={digest},{len(raw)}\n")
    return "".join(lines)


def add_link(wheel: Path, name: str, target: str) -> None:
    """Add a symbolic link, as zip files keep them."""
    entry = zipfile.ZipInfo(name)
    entry.create_system, entry.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(wheel, "a") as archive:
        archive.writestr(entry, target)


def add_entry(wheel: Path, name: str, data: bytes = b"x") -> None:
    """Add an entry with just that name."""
    with zipfile.ZipFile(wheel, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)


def add_null(wheel: Path) -> None:
    """Add an entry whose name goes on behind a null byte."""
    add_entry(wheel, "module.py~hidden")
    wheel.write_bytes(wheel.read_bytes().replace(b"module.py~hidden", b"module.py\0hidden"))


def flip_data(wheel: Path, name: str) -> None:
    """Change a byte of a stored entry, so that its checksum is wrong."""
    with zipfile.ZipFile(wheel) as archive:
        place = archive.getinfo(name).header_offset
    data = bytearray(wheel.read_bytes())
    name_length, extra_length = struct.unpack_from("<HH", data, place + 26)
    data[place + 30 + name_length + extra_length + 2] ^= 0xFF
    wheel.write_bytes(bytes(data))
