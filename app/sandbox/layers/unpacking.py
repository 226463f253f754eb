"""The program that unpacks one wheel, inside a sandbox. Standard library only.

Its source is the task's code: it reads `/task/input/package.whl` and leaves `layer.tar` among the
outputs, with byte code beside the sources, so that nobody compiles them again. It prints one line
of JSON: what it did, or why the wheel is refused. What a wheel would put outside of site-packages
(scripts, headers, data) is left out, and so are `.pth` files, which would run at every start.
"""

import importlib.util
import io
import json
import os
import py_compile
import re
import stat
import tarfile
import warnings
import zipfile
import zlib

WHEEL, TAR = "/task/input/package.whl", "/task/output/layer.tar"
SCRATCH = "/tmp/source.py"
LONGEST_NAME, LARGEST_SOURCE = 400, 8 * 2**20


class RefusedError(Exception):
    """The wheel is none that may be unpacked."""


def place_of(entry: zipfile.ZipInfo) -> str | None:
    """Where an entry goes below site-packages; None for what is left out."""
    check_kind(entry)
    parts = entry.filename.split("/")
    if len(parts) > 1 and parts[0].endswith(".data"):
        if parts[1] not in ("purelib", "platlib"):
            return None
        parts = parts[2:]
    if not parts or (len(parts) == 1 and parts[0].endswith(".pth")):
        return None
    return "/".join(parts)


def check_kind(entry: zipfile.ZipInfo) -> None:
    """Refuse a name that leads elsewhere, and anything but a plain file."""
    name, kind = entry.filename, stat.S_IFMT(entry.external_attr >> 16)
    is_plain = name == entry.orig_filename and name.isprintable() and "\\" not in name
    if not is_plain or any(part in ("", ".", "..") for part in name.split("/")):
        raise RefusedError(f"the name {name[:100]!a} is not a plain relative path")
    if len(name.encode()) > LONGEST_NAME:
        raise RefusedError(f"the name {name[:100]!a}... is too long")
    if kind not in (0, stat.S_IFREG):
        raise RefusedError(f"{name[:100]!a} is a link or a device")
    if entry.flag_bits & 1:
        raise RefusedError(f"{name[:100]!a} is encrypted")


def check_identity(names: list[str], filename: str) -> None:
    """Refuse a file that is no wheel, or another package's."""
    folders = {name.split("/")[0] for name in names if name.split("/")[0].endswith(".dist-info")}
    if len(folders) != 1:
        raise RefusedError("it has not exactly one .dist-info folder")
    folder = folders.pop()
    if not {f"{folder}/WHEEL", f"{folder}/METADATA"} <= set(names):
        raise RefusedError("its WHEEL or METADATA file is missing")
    if normal(folder.partition("-")[0]) != normal(filename.partition("-")[0]):
        raise RefusedError(f"it holds {folder[:100]!a}, another package")


def normal(name: str) -> str:
    """A distribution's name as it is compared."""
    return re.sub(r"[-_.]+", "-", name).lower()


def note_folders(name: str, known: set[str]) -> None:
    """Add the folders that a file of that name needs: each takes as much as a file."""
    folder = name.rpartition("/")[0]
    while folder and folder not in known:
        known.add(folder)
        folder = folder.rpartition("/")[0]


class Packer:
    """Moves entries to the archive, within a number of files and bytes."""

    def __init__(self, tar: tarfile.TarFile, layer: str, most: int, files: int) -> None:
        self.tar, self.layer, self.most, self.most_files = tar, layer, most, files
        self.size = self.files = 0
        self.folders: set[str] = set()

    def add(self, name: str, data: bytes) -> None:
        """Write one file."""
        self.size += len(data)
        self.files += 1
        if self.size > self.most:
            raise RefusedError(f"it unpacks to more than {self.most} bytes")
        note_folders(name, self.folders)
        if self.files + len(self.folders) > self.most_files:
            raise RefusedError(f"it unpacks to more than {self.most_files} files and folders")
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        self.tar.addfile(entry, io.BytesIO(data))

    def take(self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> None:
        """Move one entry, and the byte code of a module."""
        if entry.file_size > self.most - self.size:
            raise RefusedError(f"it unpacks to more than {self.most} bytes")
        data = archive.read(entry)
        self.add(name, data)
        if name.endswith(".py") and len(data) <= LARGEST_SOURCE:
            code = compiled(data, f"{self.layer}/{name}")
            if code:
                self.add(importlib.util.cache_from_source(name), code)


def compiled(source: bytes, place: str) -> bytes | None:
    """Byte code that is taken without a look at the source, or None if there can be none."""
    target = SCRATCH + "c"
    with open(SCRATCH, "wb") as file:  # noqa: PTH123 - pathlib is not needed inside
        file.write(source)
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    try:
        py_compile.compile(SCRATCH, target, place, doraise=True, invalidation_mode=mode)
    except (py_compile.PyCompileError, ValueError, RecursionError, MemoryError):
        return None
    with open(target, "rb") as file:  # noqa: PTH123
        return file.read()


def unpack(filename: str, layer: str, most: int, files: int) -> dict[str, object]:
    """The whole wheel; what was made of it."""
    with zipfile.ZipFile(WHEEL) as archive, tarfile.open(TAR, "w") as tar:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        places = {entry.filename: place_of(entry) for entry in entries}
        if len(places) != len(entries):
            raise RefusedError("it has a name twice")
        check_identity(list(places), filename)
        packer = Packer(tar, layer, most, files)
        for entry in entries:
            place = places[entry.filename]
            if place is not None:
                packer.take(archive, entry, place)
    return {"files": packer.files, "bytes": packer.size}


def main(filename: str, layer: str, most: int, files: int) -> None:
    """Unpack and say how it went."""
    warnings.simplefilter("ignore")
    try:
        answer = unpack(filename, layer, most, files)
    except RefusedError as error:
        answer = {"refused": str(error)}
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        answer = {"refused": f"the file is damaged ({error})"[:300]}
    if "refused" in answer and os.path.exists(TAR):  # noqa: PTH110
        os.remove(TAR)  # noqa: PTH107
    print(json.dumps(answer))  # noqa: T201 - the answer
