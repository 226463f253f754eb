"""Many runs in a process of its own, and what they left: `python -m tests.sandbox.abuse.leaks`.

Arguments: the executor's name and the number of runs. Prints one JSON object: how the runs ended,
and everything that could be left, counted before and after. A process of its own, so that nothing
else is counted.
"""

import asyncio
import json
import os
import sys
import threading
from collections import Counter
from pathlib import Path

from app.kernel.settings import Settings
from app.sandbox import Limits, Options, PoolPlan, Sandbox, Setup, TaskSpec, make_executors
from app.sandbox.executors.docker.orphans import PROCESS_LABEL
from app.sandbox.executors.kubernetes import site_of
from app.sandbox.executors.processes import process_id
from tests.sandbox.docker.engine import containers

USUAL = Limits(wall_s=60)
AT_ONCE = 4
# Endings of every kind: what is left behind is left behind by the rare ones.
ENDINGS = (
    "print(1)",
    "open('out.txt', 'w').write('x')",
    "raise RuntimeError",
    "import os; os._exit(3)",
    "while True: print('x' * 9999)",
    "import os; os.fork(); print(1)",
    "import os; os.kill(os.getpid(), 9)",
)


def descendants() -> set[int]:
    """Processes that came of this one, however far; the dead count until they are waited for."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        parents[int(path.parent.name)] = int(text.rpartition(")")[2].split()[1])
    found: set[int] = set()
    level = {os.getpid()}
    while level:
        level = {pid for pid, parent in parents.items() if parent in level} - found
        found |= level
    return found


def _cgroups() -> int:
    """Control groups that bear this process's number."""
    own = f"uaol-{os.getpid()}"
    return sum(own in folder for folder, _, _ in os.walk("/sys/fs/cgroup"))


def _mounts() -> int:
    """Mounts of the host's, but for those of containers, which are counted, and of other tests."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    return sum("/docker/" not in line and "/pytest-" not in line for line in lines)


def census(executor: str) -> dict[str, int]:
    """Everything a run could leave behind; a socket is a descriptor too."""
    is_docker = executor == "docker"
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),  # noqa: PTH208
        "processes": len(descendants()),
        "mounts": _mounts(),
        "cgroups": _cgroups(),
        "containers": len(containers(f"{PROCESS_LABEL}={process_id()}")) if is_docker else 0,
        "threads": threading.active_count(),
    }


async def serve(executor: str, runs: int) -> dict[str, int]:
    """Run them all, some side by side; how many ended in which way."""
    options = Options(USUAL, PoolPlan(least=2, most=4))
    sandbox = Sandbox(
        make_executors(executor, Setup(options=options, site=site_of(Settings()))), USUAL
    )
    status = await sandbox.start()
    if not status.available:
        raise SystemExit(status.reason)
    ended: Counter[str] = Counter()
    waiting = iter(range(runs))

    async def work() -> None:
        for number in waiting:
            code = ENDINGS[number // 5 % len(ENDINGS)] if number % 5 == 0 else "print(1)"
            result = await sandbox.run(TaskSpec(f"many-{number}", code, limits=USUAL))
            ended[result.status] += 1
            ended["waited"] += result.is_warm

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    await sandbox.close()
    return dict(ended)


def main() -> None:
    """Count, run, count again."""
    executor, runs = sys.argv[1], int(sys.argv[2])
    before = census(executor)
    ended = asyncio.run(serve(executor, runs))
    told = {"ended": ended, "before": before, "after": census(executor)}
    sys.stdout.write(f"{json.dumps(told)}\n")


if __name__ == "__main__":
    main()
