"""Sees the abuse matrix anew: `python -m tests.sandbox.abuse.generate [pytest arguments]`.

Runs the suite, keeps what it saw in `seen.json`, and writes `docs/reference/sandbox.md`. The
column of an executor that cannot run here stays as it was committed.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from tests.architecture.generate import REFERENCE
from tests.sandbox.abuse.matrix import LINES, SEEN, merge, read_seen
from tests.sandbox.abuse.page import sandbox_page

SUITE = Path(__file__).parent


def where() -> dict[str, str]:
    """What of this machine decides an outcome."""
    has_v2 = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "kernel": f"Linux {platform.release().partition('-')[0]} {platform.machine()}",
        "cgroup": "v2" if has_v2 else "v1",
        "user": "root" if os.geteuid() == 0 else "an ordinary user",
    }


def main() -> None:
    """Run, merge, write; leaves everything as it was if a test fails."""
    with tempfile.TemporaryDirectory(prefix="uaol-abuse-") as folder:
        lines = Path(folder, "lines")
        lines.touch()
        without = f"--ignore={SUITE / 'test_matrix.py'}"
        command = [sys.executable, "-m", "pytest", "-q", str(SUITE), without, *sys.argv[1:]]
        ended = subprocess.run(command, env={**os.environ, LINES: str(lines)}, check=False)
        if ended.returncode != 0:
            sys.exit("the suite failed; the matrix stays as it was")
        before = read_seen()
        after = merge(before, lines, where())
    SEEN.write_text(json.dumps(after, indent=1) + "\n", encoding="utf-8")
    (REFERENCE / "sandbox.md").write_text(sandbox_page(), encoding="utf-8")
    for name, column in after["columns"].items():
        is_new = before["columns"].get(name) != column
        sys.stdout.write(f"{name}: {'seen now' if is_new else 'not run here, or as before'}\n")


if __name__ == "__main__":
    main()
