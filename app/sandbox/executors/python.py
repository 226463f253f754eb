"""Where the server's own Python lives, and how the sandbox sees it: read-only, at fixed places.

The sandbox must import the very packages the server was installed with, but must not see the
home or checkout around them. So the interpreter's prefix appears as `/opt/python` and the
site-packages in a small virtual environment at `/opt/venv`, wherever they are on the host.
"""

import importlib.metadata
import site
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

from app.sandbox.links import Mounted
from app.sandbox.types import IsolationError

PYTHON_ROOT, VENV = "/opt/python", "/opt/venv"
_USR = Path("/usr")
_TAG = f"python{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True)
class BoundPython:
    """The interpreter as the sandbox sees it; `site_dirs` are paths inside, `folders` the same on
    the host.
    """

    interpreter: str
    base_interpreter: str
    mounts: tuple[Mounted, ...]
    site_dirs: tuple[str, ...]
    library_dir: str | None
    venv_config: str
    folders: tuple[Path, ...]
    distributions: Mapping[str, str]


def bound_python() -> BoundPython:
    """Find this process's interpreter and site-packages. Reads every installed METADATA once.

    Raises IsolationError where the prefix holds a home folder or the whole system.
    """
    base = Path(sys.base_prefix).resolve()
    mounts = [] if base.is_relative_to(_USR) else [Mounted(_checked(base), PYTHON_ROOT)]
    root = str(base) if base.is_relative_to(_USR) else PYTHON_ROOT
    own, shared = _site_dirs(base)
    inside = [f"{root}/{path.relative_to(base)}" for path in shared]
    if own:
        target = f"{VENV}/lib/{_TAG}/site-packages"
        mounts.append(Mounted(_checked(own), target))
        inside.insert(0, target)
    found = [*([own] if own else []), *shared]
    return BoundPython(
        interpreter=f"{VENV}/bin/python",
        base_interpreter=f"{root}/bin/{_TAG}",
        mounts=tuple(mounts),
        site_dirs=tuple(inside),
        library_dir=f"{root}/lib" if _needs_library_dir(base) else None,
        venv_config=_venv_config(root, has_shared=bool(shared)),
        folders=tuple(found),
        distributions=distributions_in(found),
    )


def _site_dirs(base: Path) -> tuple[Path | None, list[Path]]:
    """The environment's own site-packages, and those of the interpreter if it uses them too."""
    names = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()]
    if sys.prefix == sys.base_prefix and site.ENABLE_USER_SITE:
        names.insert(0, site.getusersitepackages())
    paths = dict.fromkeys(Path(name).resolve() for name in names)
    existing = [path for path in paths if path.is_dir()]
    own = [path for path in existing if not path.is_relative_to(base)]
    return (own[0] if own else None), [path for path in existing if path.is_relative_to(base)]


def _checked(folder: Path) -> Path:
    """A folder that may be shown: never the root, nor one that contains somebody's home."""
    if Path.home().resolve().is_relative_to(folder) or len(folder.parts) < 3:
        hint = "Use a Python of its own folder (venv, pyenv, uv, conda or the system's)."
        raise IsolationError(f"Python's prefix {folder} holds more than Python.", hint)
    return folder


def _needs_library_dir(base: Path) -> bool:
    """A shared libpython is found by a host path that does not exist inside."""
    shared = bool(sysconfig.get_config_var("Py_ENABLE_SHARED"))
    return shared and not base.is_relative_to(_USR)


def _venv_config(root: str, *, has_shared: bool) -> str:
    version = ".".join(map(str, sys.version_info[:3]))
    shared = "true" if has_shared else "false"
    return f"home = {root}/bin\ninclude-system-site-packages = {shared}\nversion = {version}\n"


def distributions_in(folders: Iterable[Path]) -> dict[str, str]:
    """Versions by canonical name; of two with one name, the first folder's."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions(path=[str(path) for path in folders]):
        name = distribution.metadata["Name"]
        if name:
            found.setdefault(canonicalize_name(name), distribution.version)
    return found
