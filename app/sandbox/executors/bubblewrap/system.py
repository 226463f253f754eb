"""What a sandbox's root is made of: the server's own system and Python, or a folder made for it.

The server's own needs nothing to be installed, and code finds the packages that the server has. A
folder holds a whole system with the Python of `python -m sandbox.image`, and nothing of the host
is to be seen.
"""

import platform
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from app.sandbox.executors.diagnosis import explain
from app.sandbox.executors.python import VENV, BoundPython, bound_python, distributions_in
from app.sandbox.types import IsolationError

_FOLDERS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
# libblas and others are reached through /etc/alternatives on Debian; fc-list wants /etc/fonts;
# who may go out checks certificates
_FILES = (
    "/etc/ld.so.cache", "/etc/alternatives", "/etc/fonts", "/etc/ssl/certs", "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/certs", "/etc/pki/ca-trust/extracted",
)  # fmt: skip
HOST = ("/usr", *_FOLDERS, *_FILES)
"""Where the host's own system has what sandboxes see of it."""

_HINT = "Make the folder with `python -m sandbox.image --only root`, or unset UAOL_SANDBOX_ROOT."

Find = Callable[[Path], Path]


@dataclass(frozen=True)
class System:
    """Where the pieces are on the host; `prefix` is the Python's inside."""

    root: Path
    python: BoundPython
    prefix: str

    @property
    def sources(self) -> list[Path]:
        """The folders that whoever starts the sandbox must be able to reach."""
        inner = [mount.source for mount in self.python.mounts]
        return inner if self.root == Path("/") else [self.root, *inner]

    def stamp(self) -> tuple[int, ...]:
        """Another one once a package was installed or removed."""
        folders = (folder for folder in self.python.folders if folder.is_dir())
        return tuple(folder.stat().st_mtime_ns for folder in folders)

    def renewed(self) -> "System":
        """The same, with the packages that there are now."""
        found = distributions_in(self.python.folders)
        return replace(self, python=replace(self.python, distributions=found))

    def options(self, find: Find) -> Iterator[str]:
        """Bubblewrap's options; `find` tells where the launcher sees a folder of the host."""
        yield from ("--ro-bind", str(find(self.root / "usr")), "/usr")
        for folder in _FOLDERS:
            path = self.root / folder[1:]
            if path.is_symlink():
                yield from ("--symlink", str(path.readlink()), folder)
            elif path.is_dir():
                yield from ("--ro-bind", str(find(path)), folder)
        for name in _FILES:
            yield from ("--ro-bind-try", str(find(self.root / name[1:])), name)
        for mount in self.python.mounts:
            yield from ("--ro-bind", str(find(mount.source)), mount.target)
        if self.prefix == VENV:
            yield from ("--symlink", self.python.base_interpreter, f"{VENV}/bin/python")

    def files(self) -> dict[str, bytes]:
        """Small files that the root holds besides, by path."""
        if self.prefix != VENV:
            return {}
        return {f"{VENV}/pyvenv.cfg": self.python.venv_config.encode()}


def own_system() -> System:
    """The server's own. Raises IsolationError as `bound_python`."""
    return System(Path("/"), bound_python(), VENV)


def system_in(root: Path) -> System:
    """The one in a folder. Raises IsolationError where there is no Python in it."""
    names = (path.name for path in (root / "usr" / "bin").glob("python3.*"))
    minors = [int(name[8:]) for name in names if name[8:].isdecimal()]
    if not minors:
        raise IsolationError(f"{root.name} has no /usr/bin/python3.", _HINT)
    name = f"python3.{max(minors)}"
    interpreter = f"/usr/bin/{name}"
    sites = (f"/usr/local/lib/{name}/dist-packages", "/usr/lib/python3/dist-packages")
    there = [site for site in sites if (root / site[1:]).is_dir()]
    python = BoundPython(
        interpreter=interpreter,
        base_interpreter=interpreter,
        mounts=(),
        site_dirs=tuple(there),
        library_dir=None,
        venv_config="",
        folders=tuple(root / site[1:] for site in there),
        distributions=distributions_in(root / site[1:] for site in there),
    )
    return System(root.resolve(), python, "/usr")


def version_of(system: System, bwrap: Sequence[str], find: Find) -> str:
    """The version of its Python, asked in a sandbox if it is not ours.

    Raises IsolationError where it does not start.
    """
    if system.root == Path("/"):
        return platform.python_version()
    asked = subprocess.run(
        [*bwrap, "--unshare-all", *system.options(find), "--", system.python.interpreter, "-ISV"],
        env={}, cwd="/", capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    word, _, version = asked.stdout.strip().partition(" ")
    if word != "Python":
        explain(asked.stderr)
        told = asked.stderr.strip()[-300:]
        raise IsolationError(f"The Python in {system.root.name} does not start: {told}", _HINT)
    return version
