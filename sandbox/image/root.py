"""Makes the base as a folder: Debian by debootstrap, Python packages by pip, then `finish.py`.

Where packages come from is this machine's own configuration of apt and pip. Nothing is compiled
from source: the packages are pinned, all of them, and wheels only.
"""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from sandbox.image.recipe import (
    FINISH,
    INTERPRETER,
    PACKAGES,
    PYTHON,
    REQUIREMENTS,
    SITE,
    SUITE,
)

# glibc of the suite is 2.36
_MANYLINUX = ("2_36", "2_35", "2_34", "2_31", "2_28", "2_27", "2_26", "2_24", "2_17", "2_12", "2_5")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Progress = Callable[[str], None]


class BuildError(Exception):
    """The image cannot be built here; the text says why and what to do."""


def make_root(root: Path, mirror: str, progress: Progress) -> None:
    """Fill the empty folder `root`. Takes minutes. Raises BuildError."""
    if os.geteuid() != 0:
        raise BuildError("debootstrap needs root; without it use sandbox/Dockerfile.")
    progress(f"Debian {SUITE} ...")
    _debootstrap(root, mirror or debian_mirror())
    progress("Python packages ...")
    _install_packages(root / SITE)
    progress("compiling ...")
    _finish(root)


def debian_mirror() -> str:
    """The mirror that this machine's apt uses for Debian itself. Raises BuildError."""
    # security updates and backports have the same origin but a label of their own
    form = "$(ORIGIN)|$(LABEL)|$(REPO_URI)"
    found = _output(["apt-get", "indextargets", "--format", form, "Created-By: Packages"])
    for line in found.splitlines():
        origin, label, uri = line.split("|", 2)
        if (origin, label) == ("Debian", "Debian") and uri:
            return uri.rstrip("/")
    raise BuildError("apt knows no mirror of Debian: run `apt-get update`, or give --mirror.")


def _debootstrap(root: Path, mirror: str) -> None:
    program = shutil.which("debootstrap", path=_PATH)
    if program is None:
        raise BuildError("debootstrap is missing: `apt-get install debootstrap`.")
    # without Debian's keyring it would go on, and trust whatever the mirror gives
    options = ["--force-check-gpg", "--variant=minbase", f"--include={','.join(PACKAGES)}"]
    _run([program, *options, SUITE, str(root), mirror], {"PATH": _PATH, **_proxies()})


def _proxies() -> dict[str, str]:
    """The proxies of apt, else of the environment, for a program that knows only the latter."""
    found = {}
    for scheme in ("http", "https"):
        name = f"{scheme}_proxy"
        text = _output(["apt-config", "shell", "value", f"Acquire::{scheme}::Proxy"])
        value = text.partition("=")[2].strip().strip("'\"")
        if value and value != "DIRECT":
            found[name] = value
        elif name in os.environ:
            found[name] = os.environ[name]
    if "no_proxy" in os.environ:
        found["no_proxy"] = os.environ["no_proxy"]
    return found


def _install_packages(target: Path) -> None:
    tag = f"cp{PYTHON.replace('.', '')}"
    machine = platform.machine()
    platforms = [f"manylinux_{version}_{machine}" for version in _MANYLINUX]
    platforms += [f"manylinux2014_{machine}", f"linux_{machine}"]
    _run([
        sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install",
        "--no-deps", "--only-binary=:all:", "--no-compile", "--root-user-action=ignore",
        "--implementation=cp", f"--python-version={PYTHON}", f"--abi={tag}",
        *(f"--platform={name}" for name in platforms),
        f"--target={target}", f"--requirement={REQUIREMENTS}",
    ])  # fmt: skip
    shutil.rmtree(target / "bin", ignore_errors=True)


def _finish(root: Path) -> None:
    inside = root / "opt" / FINISH.name
    shutil.copyfile(FINISH, inside)
    _run(["chroot", str(root), INTERPRETER, "-I", f"/opt/{FINISH.name}"], {"PATH": _PATH})
    for folder in ("dev", "proc", "sys", "run", "tmp"):
        shutil.rmtree(root / folder, ignore_errors=True)
        (root / folder).mkdir(exist_ok=True)


def _run(command: Sequence[str], environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, check=False, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace",
    )  # fmt: skip
    if done.returncode:
        raise BuildError(f"{command[0]} failed:\n{done.stdout[-3000:]}")


def _output(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout
