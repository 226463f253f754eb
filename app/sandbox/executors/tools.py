"""The programs that live inside every sandbox, in compiled form: no path of ours is mounted."""

import importlib.util
import marshal
from pathlib import Path

from app.sandbox.types import IsolationError

TOOLS = "/run/uaol"
RUNNER = f"{TOOLS}/runner.pyc"
_NAMES = (
    "runner", "child", "usercode", "notebook", "figures", "preview", "collector", "relay",
)  # fmt: skip
_SOURCES = Path(__file__).resolve().parents[3] / "sandbox"


def compiled_tools(folder: Path = _SOURCES) -> dict[str, bytes]:
    """The files by their paths inside, as the bytes of a `.pyc` for this Python, header and all.

    Raises IsolationError if one is missing.
    """
    return {f"{TOOLS}/{name}.pyc": _compiled(folder / f"{name}.py") for name in _NAMES}


def _compiled(source: Path) -> bytes:
    try:
        text = source.read_text(encoding="utf-8")
    except OSError as error:
        hint = "The installation is incomplete: reinstall it."
        reason = f"The sandbox's {source.name} is unreadable: {error.strerror}."
        raise IsolationError(reason, hint) from error
    code = compile(text, source.name, "exec", dont_inherit=True, optimize=2)
    # a zero flag word, time stamp and size: the file is run by name, never checked for age
    return importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(code)
