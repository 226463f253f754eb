"""The runner's compiled form, given to each sandbox by descriptor: no path of ours is mounted."""

import importlib.util
import marshal
from pathlib import Path

from app.sandbox.types import IsolationError

RUNNER_NAME = "/run/uaol/runner.pyc"
_SOURCE = Path(__file__).resolve().parents[3] / "sandbox" / "runner.py"


def compiled_runner(source: Path = _SOURCE) -> bytes:
    """The runner as the bytes of a `.pyc` for this Python, header and all.

    Raises IsolationError if the file is missing.
    """
    try:
        text = source.read_text(encoding="utf-8")
    except OSError as error:
        hint = "The installation is incomplete: reinstall it."
        raise IsolationError(f"The runner is unreadable: {error.strerror}.", hint) from error
    code = compile(text, "runner.py", "exec", dont_inherit=True, optimize=2)
    # a zero flag word, time stamp and size: the file is run by name, never checked for age
    return importlib.util.MAGIC_NUMBER + bytes(12) + marshal.dumps(code)
