"""Unpacks wheels into a draft of a layer: the unpacking in a sandbox, the writing here.

A sandbox without network takes a wheel apart, within limits, and hands back a tar of plain files.
It is not believed: names, kinds, number and size are checked again as the files are written.
"""

import asyncio
import errno
import io
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from app.kernel.errors import AppError
from app.kernel.whole import whole
from app.sandbox.layers import unpacking
from app.sandbox.layers.lock import Wheel
from app.sandbox.layers.refusals import failed, refused
from app.sandbox.layers.sizes import LayerLimits
from app.sandbox.layers.target import Run
from app.sandbox.types import InputFile, Limits, TaskResult, TaskSpec

LAYERS = "/opt/layers"
_TASK = "layer"
_SPARE_BYTES = 64 * 2**20
_LONGEST_NAME = 500
_UNFIT = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)


@dataclass
class Draft:
    """A layer that is being filled."""

    id: str
    place: Path
    files: int = 0
    size: int = 0
    folders: set[str] = field(default_factory=set)

    @property
    def target(self) -> str:
        """Where the sandbox will see it."""
        return f"{LAYERS}/{self.id}"


async def install(run: Run, wheel: Wheel, file: Path, draft: Draft, limits: LayerLimits) -> None:
    """Add one wheel to the draft.

    Raises AppError: SANDBOX_REQUIREMENT_REFUSED for a wheel that is broken or too large,
    SANDBOX_FAILED where the sandbox gave up; IsolationError; OSError of the disk.
    """
    most = min(limits.wheel_bytes, limits.layer_bytes - draft.size)
    files = limits.files - draft.files - len(draft.folders)
    order = {"filename": wheel.filename, "layer": draft.target, "most": most, "files": files}
    code = f"{_source()}\n\nmain(**{json.dumps(order)})\n"
    spec = TaskSpec(
        f"{_TASK}-{draft.id}", code, (), (InputFile("package.whl", file),), _limits(most, limits)
    )
    label = f"{wheel.name} {wheel.version}"
    tar = _answer(await run(spec), label)
    await whole(asyncio.to_thread(spread, tar, draft, most, files, label))


def seal(place: Path) -> tuple[int, int]:
    """Take the right to write away, below `place` first; the number of files and their bytes."""
    files = size = 0
    for folder, _, names in os.walk(place, topdown=False):
        for name in names:
            path = Path(folder, name)
            path.chmod(0o444)
            files, size = files + 1, size + path.lstat().st_size
        Path(folder).chmod(0o555)
    return files, size


def _source() -> str:
    return Path(unpacking.__file__).read_text(encoding="utf-8")


def _limits(most: int, limits: LayerLimits) -> Limits:
    # A tar has a header for each file and is padded.
    room = most + min(most, limits.files * 1024) + _SPARE_BYTES
    return Limits(
        wall_s=limits.build_s,
        cpu_s=int(limits.build_s),
        processes=8,
        memory_bytes=2**30 + 2 * room,
        output_bytes=room,
        stdout_bytes=2**16,
        files=1,
        tmp_bytes=room,
    )


def _answer(result: TaskResult, label: str) -> bytes:
    if result.status in ("infra_error", "killed"):
        raise failed(f"the sandbox gave up on {label}")
    if result.status in ("timeout", "oom"):
        raise refused(label, f"unpacking it ended with {result.status}")
    try:
        answer = json.loads(result.stdout)
        why = answer.get("refused")
    except (ValueError, AttributeError) as error:
        raise refused(label, f"unpacking it failed: {_last(result.stderr)}") from error
    if why is not None:
        raise refused(label, str(why)[:300])
    if [file.name for file in result.files] != ["layer.tar"]:
        raise refused(label, "it is too large unpacked")
    return result.files[0].content


def _last(text: str) -> str:
    return ascii(text.strip().rpartition("\n")[2][:200])


def spread(data: bytes, draft: Draft, most: int, files: int, label: str) -> None:
    """Write what a sandbox gave back as a tar: `most` bytes in `files` files and folders at most.

    Raises AppError: SANDBOX_FAILED for a tar that honest code does not make,
    SANDBOX_REQUIREMENT_REFUSED for names that no folder can hold; OSError of the disk.
    """
    try:
        most_names = files + len(draft.folders)
        for number, (name, content) in enumerate(_plain_files(data, most), 1):
            unpacking.note_folders(name, draft.folders)
            if number + len(draft.folders) > most_names:
                raise _beyond()
            _write(draft, name, content)
    except (tarfile.TarError, ValueError) as error:
        raise failed("what the sandbox gave back cannot be read") from error
    except OSError as error:
        if error.errno in _UNFIT:
            raise refused(label, "a name in it is too long, or a file and a folder") from error
        raise


def _write(draft: Draft, name: str, content: bytes) -> None:
    path = draft.place / name
    path.parent.mkdir(parents=True, exist_ok=True)
    # Two packages with the same file: the first stays, in the order of names.
    if not path.exists():
        path.write_bytes(content)
        draft.files, draft.size = draft.files + 1, draft.size + len(content)


def _plain_files(data: bytes, most: int) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
        for entry in tar:
            most -= entry.size
            if most < 0 or entry.size < 0:
                raise _beyond()
            is_file = entry.type == tarfile.REGTYPE and not entry.issparse()
            file = tar.extractfile(entry) if is_file and _is_plain(entry.name) else None
            if file is None:
                raise failed("the sandbox gave back something that is not a plain file")
            yield entry.name, file.read()


def _beyond() -> AppError:
    return failed("the sandbox gave back more than it was allowed")


def _is_plain(name: str) -> bool:
    parts = name.split("/")
    is_short = name.isprintable() and len(name.encode()) <= _LONGEST_NAME and "\\" not in name
    return is_short and not any(part in ("", ".", "..") for part in parts)
