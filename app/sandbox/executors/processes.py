"""Marks of processes: a sandbox bears one, which tells others whether its owner still lives."""

import os
from functools import cache
from pathlib import Path


@cache
def _namespace() -> str:
    """The pid namespace: pids mean something only to who is in the same."""
    try:
        return str(os.stat("/proc/self/ns/pid").st_ino)  # noqa: PTH116
    except OSError:
        return ""


def process_id() -> str:
    """This process among all of this machine: its pid namespace, its pid there, its start time."""
    return f"{_namespace()}-{os.getpid()}-{_began(os.getpid())}"


def is_alive(process: str) -> bool | None:
    """Whether the process of that id lives; None where that cannot be seen from here."""
    namespace, _, rest = process.partition("-")
    pid, _, began = rest.partition("-")
    if not namespace or namespace != _namespace() or not (pid.isdecimal() and began.isdecimal()):
        return None
    return _began(int(pid)) == began


def _began(pid: int) -> str:
    """When a process began, in clock ticks since the boot."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "gone"
    # the command name, in brackets, may hold spaces; the start time is field 22
    return text.rpartition(")")[2].split()[19]
