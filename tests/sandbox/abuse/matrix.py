"""The abuse matrix: what was seen, kept in `seen.json`, and compared with what is seen now.

A run compares each outcome with the one committed. `python -m tests.sandbox.abuse.generate` runs
the suite with `UAOL_ABUSE_LINES` set: then outcomes are noted there instead, one JSON line each.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.sandbox import Capabilities

SEEN = Path(__file__).with_name("seen.json")
LINES = "UAOL_ABUSE_LINES"
STOPPED, HARMLESS, DECLARED = "stopped", "allowed, harmless", "open, declared best effort"
HELD = "held"


def column(capabilities: Capabilities) -> str:
    """The executor as the matrix knows it: a weaker or stronger form of one is its own column."""
    name = capabilities.executor
    if capabilities.level in ("gvisor", "microvm"):
        name += f" on {capabilities.level}"
    return f"{name} without cgroup" if "total memory" in capabilities.best_effort else name


def read_seen() -> dict[str, Any]:
    """The committed matrix: `columns`, each with `outcomes` by row name and `where` it was seen."""
    return dict(json.loads(SEEN.read_text(encoding="utf-8")))


def note(row: str, executor: Capabilities, outcome: str) -> None:
    """Keep an outcome, or hold it against the committed one.

    An executor that was never written down, such as a cluster's, has nothing to be compared with.
    """
    where = column(executor)
    if file := os.environ.get(LINES):
        line = json.dumps({"row": row, "executor": where, "outcome": outcome})
        with Path(file).open("a", encoding="utf-8") as lines:
            lines.write(f"{line}\n")
        return
    known = known_outcome(row, where)
    if known is not None:
        told = "run `python -m tests.sandbox.abuse.generate` and look at the difference"
        assert outcome == known, f"{row} on {where}: {outcome}, but committed is {known}; {told}"


def known_outcome(row: str, where: str) -> str | None:
    """The committed outcome; a form of an executor is like the executor, unless told otherwise."""
    columns = read_seen()["columns"]
    for name in (where, where.partition(" ")[0]):
        if outcome := columns.get(name, {"outcomes": {}})["outcomes"].get(row):
            return str(outcome)
    return None


def merge(old: Mapping[str, Any], lines: Path, where: Mapping[str, str]) -> dict[str, Any]:
    """The matrix with what `lines` saw; columns that no line is about stay as they are."""
    columns = dict(old["columns"])
    fresh: dict[str, dict[str, str]] = {}
    for text in lines.read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        outcomes = fresh.setdefault(line["executor"], {})
        before = outcomes.setdefault(line["row"], line["outcome"])
        assert before == line["outcome"], f"{line}: earlier in this run it was {before}"
    for name, outcomes in fresh.items():
        known = columns.get(name, {"outcomes": {}})["outcomes"]
        columns[name] = {
            "where": dict(where),
            "outcomes": dict(sorted({**known, **outcomes}.items())),
        }
    return {"columns": dict(sorted(columns.items()))}
