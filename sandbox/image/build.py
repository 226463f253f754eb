"""Brings the image about, doing only what has not been done; one builder at a time.

The base's folder stays in the cache: it is what the next build starts from, and a root for any
other way to run code behind walls.
"""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sandbox.image.load import add_tools, has_image, import_base
from sandbox.image.old import remove_old
from sandbox.image.recipe import base_key, base_name, image_name
from sandbox.image.root import Progress, make_root


def default_cache() -> Path:
    """A folder of the platform's home."""
    return Path(os.environ.get("UAOL_HOME", ".uaol")).absolute() / "sandbox"


def build_image(cache: Path, mirror: str = "", progress: Progress = lambda _: None) -> str:
    """The image's name, once the engine has it. Raises BuildError."""
    name = image_name()
    if has_image(name):
        return name
    with _locked(cache):
        if not has_image(base_name()):
            root = _root(cache, mirror, progress)
            progress("docker import ...")
            import_base(root)
        if not has_image(name):
            add_tools()
            remove_old()
    return name


def build_root(cache: Path, mirror: str = "", progress: Progress = lambda _: None) -> Path:
    """The base as a folder, made if it is not there yet. Raises BuildError."""
    root = cache / f"root-{base_key()}"
    if root.is_dir():
        return root
    with _locked(cache):
        return _root(cache, mirror, progress)


def _root(cache: Path, mirror: str, progress: Progress) -> Path:
    root = cache / f"root-{base_key()}"
    if root.is_dir():
        return root
    # we hold the lock, so whoever began these has died
    for left in cache.glob("draft-*"):
        _discard(left)
    draft = Path(tempfile.mkdtemp(prefix="draft-", dir=cache))
    try:
        draft.chmod(0o755)
        make_root(draft, mirror, progress)
        draft.rename(root)
    finally:
        _discard(draft)
    for old in cache.glob("root-*"):
        if old != root:
            _discard(old)
    return root


def _discard(folder: Path) -> None:
    """Remove a tree in which debootstrap, if it was cut off, may still have mounts."""
    if not folder.is_dir():
        return
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines():
        target = line.split()[1]
        if target.startswith(f"{folder}/"):
            subprocess.run(["umount", "--lazy", target], check=False)
    shutil.rmtree(folder)


@contextmanager
def _locked(cache: Path) -> Iterator[None]:
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
