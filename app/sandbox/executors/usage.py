"""What a process tree has used so far, read from /proc before it is killed."""

import os
import re
from pathlib import Path

from app.sandbox.types import Usage

_TICKS = os.sysconf("SC_CLK_TCK")
_PEAK = re.compile(rb"^VmHWM:\s*(\d+)", re.MULTILINE)


def tree_usage(pid: int) -> Usage:
    """CPU time of the tree under `pid` and its largest process's peak; best effort."""
    cpu, peak = 0.0, 0
    waiting = [pid]
    while waiting:
        current = waiting.pop()
        try:
            cpu += _cpu_seconds(current)
            peak = max(peak, _peak_bytes(current))
            waiting += _children(current)
        except (OSError, ValueError, IndexError):
            continue
    return Usage(cpu_s=cpu, peak_memory_bytes=peak)


def _cpu_seconds(pid: int) -> float:
    # the command name, in brackets, may hold spaces; utime..cstime are fields 14 to 17
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return sum(int(field) for field in fields[11:15]) / _TICKS


def _peak_bytes(pid: int) -> int:
    found = _PEAK.search(_read(f"/proc/{pid}/status"))
    return int(found[1]) * 1024 if found else 0


def _children(pid: int) -> list[int]:
    threads = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for thread in threads for child in _read(f"{thread}/children").split()]


def _read(path: str) -> bytes:
    """A file of /proc. What is to be killed at once is not kept waiting by layers of streams."""
    with Path(path).open("rb", buffering=0) as file:
        return file.read()
