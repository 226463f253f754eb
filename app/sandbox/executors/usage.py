"""What a process tree has used so far, read from /proc before it is killed."""

import os
from pathlib import Path

from app.sandbox.types import Usage

_TICKS = os.sysconf("SC_CLK_TCK")


def tree_usage(pid: int, wall_s: float) -> Usage:
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
    return Usage(cpu, wall_s, peak)


def _cpu_seconds(pid: int) -> float:
    # the command name, in brackets, may hold spaces; utime..cstime are fields 14 to 17
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) / _TICKS


def _peak_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _children(pid: int) -> list[int]:
    found = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (thread / "children").read_text().split()]
    return found
