"""The programs that live inside every sandbox, given as files: no path of ours is mounted."""

import importlib.util
import marshal
import platform
from pathlib import Path

from app.sandbox.types import IsolationError

TOOLS = "/run/uaol"
_NAMES = (
    "runner", "child", "usercode", "notebook", "figures", "preview", "collector", "relay",
)  # fmt: skip
_SOURCES = Path(__file__).resolve().parents[3] / "sandbox"


def tools_for(version: str, folder: Path = _SOURCES) -> dict[str, bytes]:
    """The files by their paths inside, the runner first: as `.pyc` where that Python reads ours.

    Raises IsolationError if one is missing.
    """
    is_ours = version.split(".")[:2] == platform.python_version().split(".")[:2]
    texts = {name: _read(folder / f"{name}.py") for name in _NAMES}
    if not is_ours:
        return {f"{TOOLS}/{name}.py": text for name, text in texts.items()}
    return {f"{TOOLS}/{name}.pyc": _compiled(f"{name}.py", text) for name, text in texts.items()}


def _read(source: Path) -> bytes:
    try:
        return source.read_bytes()
    except OSError as error:
        hint = "The installation is incomplete: reinstall it."
        reason = f"The sandbox's {source.name} is unreadable: {error.strerror}."
        raise IsolationError(reason, hint) from error


def _compiled(name: str, text: bytes) -> bytes:
    """A `.pyc`, header and all."""
    code = compile(text, name, "exec", dont_inherit=True, optimize=2)
    # a zero flag word, time stamp and size: the file is run by name, never checked for age
    return importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(code)
