"""The layers on disk, shared by all processes of this home.

    layers/<id>             a finished layer, read-only, moved here in one step
    layers/.<id>.draft      one being built, by whoever holds its lock exclusively
    fetched/<id>            the wheel it is just made from
    records/<id>.json       how many files and bytes a finished layer has
    locks/<id>              held shared by a process that uses it; its time is that of the last use
    resolved/<key>.json     what a set of requirements came to

A layer is in use in this process for as long as anybody holds the `Mounted` that it was lent as.
"""

import json
import os
import shutil
import stat
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from app.sandbox.layers.filelock import FileLock, try_lock
from app.sandbox.layers.installing import Draft, seal
from app.sandbox.layers.sizes import LayerLimits
from app.sandbox.links import Mounted

_FOLDERS = ("layers", "records", "locks", "resolved", "stand-ins", "fetched")


class Shelf:
    """Finished layers, and the locks on those that this process uses."""

    def __init__(self, folder: Path, limits: LayerLimits) -> None:
        self.folder = folder
        self._limits = limits
        self._lent: weakref.WeakValueDictionary[str, Mounted] = weakref.WeakValueDictionary()
        self._whole: set[str] = set()

    def open(self) -> None:
        """Make the folders. Raises OSError."""
        for name in _FOLDERS:
            (self.folder / name).mkdir(parents=True, exist_ok=True)
            (self.folder / name).chmod(0o755 if name == "layers" else 0o700)

    def lock_path(self, layer_id: str) -> Path:
        """The file that stands for the layer's lock."""
        return self.folder / "locks" / layer_id

    def lent(self, layer_id: str) -> Mounted | None:
        """The layer, if this process uses it already."""
        mounted = self._lent.get(layer_id)
        if mounted is not None:
            os.utime(self.lock_path(layer_id))
        return mounted

    def lend(self, layer_id: str, held: FileLock) -> Mounted:
        """The layer for mounting; `held`, its shared lock, is let go with the last who has it."""
        draft = Draft(layer_id, self._place(layer_id))
        mounted = Mounted(draft.place, draft.target)
        self._lent[layer_id] = mounted
        weakref.finalize(mounted, held.release).atexit = False
        os.utime(self.lock_path(layer_id))
        return mounted

    def has(self, layer_id: str) -> bool:
        """Whether the layer is there and whole; looked through once by each process."""
        if not (self._place(layer_id).is_dir() and self._record(layer_id).exists()):
            self._whole.discard(layer_id)
            return False
        if layer_id not in self._whole and self._is_whole(layer_id):
            self._whole.add(layer_id)
        return layer_id in self._whole

    def draft(self, layer_id: str) -> Draft:
        """An empty draft; what an earlier builder left is removed. Needs the exclusive lock."""
        place = self._draft_place(layer_id)
        scratch = self.scratch(layer_id)
        for left in (place, self._place(layer_id), scratch):
            _remove(left)
        for made in (place, scratch):
            made.mkdir()
        return Draft(layer_id, place)

    def scratch(self, layer_id: str) -> Path:
        """A folder for what the draft is made from, there as long as the draft is."""
        return self.folder / "fetched" / layer_id

    def put(self, draft: Draft) -> None:
        """Seal the draft and make it the layer, in one step."""
        files, size = seal(draft.place)
        record = self._record(draft.id)
        _write(record, json.dumps({"files": files, "bytes": size}))
        draft.place.rename(self._place(draft.id))

    def drop(self, layer_id: str) -> None:
        """Leave nothing of a draft that came to nothing."""
        _remove(self._draft_place(layer_id))
        _remove(self.scratch(layer_id))

    def evict(self) -> list[str]:
        """Remove what is too old or too much, the longest unused first; never one in use."""
        kept, kept_bytes, gone = 0, 0, []
        for used, layer_id, size in sorted(self._known(), reverse=True):
            kept, kept_bytes = kept + 1, kept_bytes + size
            is_over = kept > self._limits.kept or kept_bytes > self._limits.kept_bytes
            is_old = time.time() - used > self._limits.kept_s
            if (is_over or is_old) and self._remove(layer_id):
                kept, kept_bytes = kept - 1, kept_bytes - size
                gone.append(layer_id)
        self._sweep()
        return gone

    def resolved(self, key: str, longest_s: float | None) -> str | None:
        """What was remembered under a key, unless it is older than `longest_s`."""
        path = self.folder / "resolved" / f"{key}.json"
        try:
            is_old = longest_s is not None and time.time() - path.stat().st_mtime > longest_s
            return None if is_old else path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None

    def remember(self, key: str, text: str) -> None:
        """Keep what a set of requirements came to."""
        _write(self.folder / "resolved" / f"{key}.json", text)

    def _is_whole(self, layer_id: str) -> bool:
        """Whether it has what it had when it was sealed; a crash may take what was not on disk."""
        try:
            record = json.loads(self._record(layer_id).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        sizes = [path.lstat().st_size for path in _files(self._place(layer_id))]
        return bool(record == {"files": len(sizes), "bytes": sum(sizes)})

    def _known(self) -> Iterator[tuple[float, str, int]]:
        """Last use, id and size of every layer."""
        for place in (self.folder / "layers").iterdir():
            if place.name.startswith("."):
                continue
            try:
                record = json.loads(self._record(place.name).read_text(encoding="utf-8"))
                used = self.lock_path(place.name).stat().st_mtime
            except (OSError, ValueError):
                record, used = {"bytes": 0}, 0.0
            yield used, place.name, int(record["bytes"])

    def _remove(self, layer_id: str) -> bool:
        held = try_lock(self.lock_path(layer_id), exclusive=True)
        if held is None:
            return False
        # Without its record a layer is none, should the rest be cut short.
        self._record(layer_id).unlink(missing_ok=True)
        _remove(self._place(layer_id))
        held.forget()
        return True

    def _sweep(self) -> None:
        """Remove what dead processes and old requests left."""
        drafts = (self.folder / "layers").glob(".*.draft")
        begun = {draft.name[1 : -len(".draft")] for draft in drafts}
        for layer_id in begun | {path.name for path in (self.folder / "fetched").iterdir()}:
            held = try_lock(self.lock_path(layer_id), exclusive=True)
            if held is not None:
                _remove(self._draft_place(layer_id))
                _remove(self.scratch(layer_id))
                is_kept = self._place(layer_id).exists()
                held.release() if is_kept else held.forget()
        oldest = time.time() - self._limits.kept_s
        for name in ("resolved", "stand-ins"):
            for path in (self.folder / name).iterdir():
                if path.lstat().st_mtime < oldest:
                    _remove(path)

    def _place(self, layer_id: str) -> Path:
        return self.folder / "layers" / layer_id

    def _draft_place(self, layer_id: str) -> Path:
        return self.folder / "layers" / f".{layer_id}.draft"

    def _record(self, layer_id: str) -> Path:
        return self.folder / "records" / f"{layer_id}.json"


def _files(place: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(place):
        for name in names:
            yield Path(folder, name)


def _remove(place: Path) -> None:
    """Remove a file or a sealed tree."""
    if not place.is_dir():
        place.unlink(missing_ok=True)
        return
    for folder, _, _ in os.walk(place):
        Path(folder).chmod(stat.S_IRWXU)
    shutil.rmtree(place)


def _write(path: Path, text: str) -> None:
    draft = path.with_name(f".{uuid4().hex}")
    draft.write_text(text, encoding="utf-8")
    draft.rename(path)
