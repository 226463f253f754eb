"""What stands before each attack's code: how it tries something, and how it tells what came of it.

The same text runs in a sandbox and, for the control, in a plain process on the host. What the
code tells is untrusted like everything a task prints; here it is our own.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_MARK = "told: "

_PRELUDE = """\
import ctypes, errno, json, os, signal, sys
P = json.loads({params!r})
TRIED, TOLD = {{}}, {{}}
libc = ctypes.CDLL(None, use_errno=True)

def name(error):
    return errno.errorcode.get(getattr(error, "errno", None), type(error).__name__)

def attempt(what, action, *args):
    try:
        action(*args)
    except BaseException as error:
        TRIED[what] = name(error)
    else:
        TRIED[what] = "done"

def check(value):
    if value == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return value

def call(number, *args):
    ctypes.set_errno(0)
    return check(libc.syscall(ctypes.c_long(number),
        *(ctypes.c_long(arg) if isinstance(arg, int) else arg for arg in args)))

def apart(action, *args):
    child = os.fork()
    if child == 0:
        code = 254
        try:
            action(*args)
            code = 0
        except OSError as error:
            code = error.errno or 254
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        raise OSError(code, "in a child")

def say():
    print({mark!r} + json.dumps([TRIED, TOLD]), flush=True)

libc.prctl(15, P["mark"].encode(), 0, 0, 0)
"""


@dataclass(frozen=True)
class Said:
    """`tried`: `done`, or the name of the error, of each attempt. `told`: any other figures."""

    tried: Mapping[str, str] = field(default_factory=dict)
    told: Mapping[str, Any] = field(default_factory=dict)

    def done(self) -> set[str]:
        """The attempts that succeeded."""
        return {what for what, came in self.tried.items() if came == "done"}


def program(code: str, params: Mapping[str, Any]) -> str:
    """The attack's whole source; `mark` in `params` becomes the name of its processes."""
    head = _PRELUDE.format(params=json.dumps(dict(params)), mark=_MARK)
    return f"{head}\n{code.strip()}\nsay()\n"


def said(stdout: str) -> Said:
    """What the code told last; nothing if it was ended before it could."""
    lines = [line for line in stdout.splitlines() if line.startswith(_MARK)]
    return Said(*json.loads(lines[-1][len(_MARK) :])) if lines else Said()
