"""How long the fault tests take, and what they have done, told in one line of JSON.

`UAOL_FAULTS_SECONDS` is the time for all of them on two processes; without it the short form
runs. As a plug-in (`pytest -p tests.faults.summary`) it prints the line at the end.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

SECONDS = float(os.environ.get("UAOL_FAULTS_SECONDS", "0"))
_BEGAN = time.monotonic()
_LINE: list[str] = []


def scaled(short: float, share: float) -> float:
    """`short` in `make test`; in the long form that share of its seconds, if it is more."""
    return max(short, SECONDS * share)


def _file() -> Path:
    return Path(os.environ["UAOL_TEST_FOLDER"]) / "faults.jsonl"


def record(name: str, **figures: Any) -> None:
    """Note what a test has done, for the summary."""
    with _file().open("a", encoding="utf-8") as file:
        file.write(json.dumps({name: figures}) + "\n")


def pytest_terminal_summary(terminalreporter: Any, exitstatus: int) -> None:
    counts = {
        outcome: len(terminalreporter.stats.get(outcome, []))
        for outcome in ("passed", "failed", "error", "skipped")
    }
    figures: dict[str, Any] = {}
    if _file().exists():
        for line in _file().read_text(encoding="utf-8").splitlines():
            figures.update(json.loads(line))
    whole = {
        "bench": "faults",
        "is_ok": exitstatus == pytest.ExitCode.OK,
        "seconds": round(time.monotonic() - _BEGAN),
        "asked_seconds": SECONDS,
        **counts,
        **dict(sorted(figures.items())),
    }
    _LINE.append(json.dumps(whole))


def pytest_unconfigure() -> None:
    """After everything else that pytest says."""
    for line in _LINE:
        sys.__stdout__.write(f"{line}\n")  # type: ignore[union-attr]
