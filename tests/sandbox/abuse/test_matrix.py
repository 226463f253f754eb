"""The matrix is whole, its page is what was seen, and a difference does not pass."""

import ast
import json
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import get_args

import pytest

from app.sandbox import Capabilities, Limits, Status
from tests.sandbox.abuse.attacks import ROWS
from tests.sandbox.abuse.matrix import (
    DECLARED,
    HARMLESS,
    HELD,
    LINES,
    STOPPED,
    column,
    merge,
    note,
    read_seen,
)
from tests.sandbox.abuse.page import LIMITS, STATUSES, sandbox_page

CAPABILITIES = Capabilities("bubblewrap", (), (), "3.11", {})


def _scenarios() -> Iterator[str]:
    for path in Path(__file__).parent.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node.name


def test_each_row_is_run() -> None:
    known = set(_scenarios())
    assert [row.name for row in ROWS if not row.code and f"test_{row.name}" not in known] == []


def test_each_row_is_documented_for_each_executor() -> None:
    for row in ROWS:
        assert set(row.walls) == {"docker", "bubblewrap", "kubernetes"}, row.name
        assert row.attack.endswith("."), row.name
        assert bool(row.allowed) <= bool(row.harmless), row.name
        assert "|" not in "".join([row.attack, row.harmless, *row.walls.values()])


def test_what_was_seen_is_whole() -> None:
    columns = read_seen()["columns"]
    assert {"bubblewrap", "docker"} <= columns.keys()
    for name, seen in columns.items():
        expected = {row.name for row in ROWS if row.only in ("", name)}
        # a form of an executor has those rows alone in which it may differ
        assert seen["outcomes"].keys() <= expected, name
        assert " " in name or seen["outcomes"].keys() == expected, name
        assert set(seen["outcomes"].values()) <= {STOPPED, HARMLESS, DECLARED, HELD}
        assert seen["where"].keys() == {"date", "kernel", "cgroup", "user"}


def test_only_what_is_declared_is_open() -> None:
    declared = {row.name for row in ROWS if row.declared}
    for name, seen in read_seen()["columns"].items():
        is_open = {row for row, outcome in seen["outcomes"].items() if outcome == DECLARED}
        assert is_open <= declared
        assert not is_open or "without cgroup" in name


def test_the_page_has_every_row_limit_and_status() -> None:
    page = sandbox_page()
    assert all(f"| {row.number} | {row.attack} " in page for row in ROWS)
    assert LIMITS.keys() == {field.name for field in fields(Limits)}
    assert STATUSES.keys() == set(get_args(Status))


def test_another_outcome_does_not_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LINES, raising=False)
    note("fork_loop", CAPABILITIES, STOPPED)
    with pytest.raises(AssertionError, match="generate"):
        note("fork_loop", CAPABILITIES, HARMLESS)


def test_an_executor_never_seen_is_compared_with_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LINES, raising=False)
    note("fork_loop", replace(CAPABILITIES, executor="another"), HARMLESS)


def test_weaker_and_stronger_forms_are_columns_of_their_own() -> None:
    weaker = replace(CAPABILITIES, best_effort=("total memory",))
    stronger = replace(CAPABILITIES, executor="docker", level="gvisor")
    assert column(CAPABILITIES) == "bubblewrap"
    assert column(weaker) == "bubblewrap without cgroup"
    assert column(stronger) == "docker on gvisor"


def test_a_column_that_was_not_run_is_kept(tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    told = {"row": "memory", "executor": "docker", "outcome": STOPPED}
    lines.write_text(f"{json.dumps(told)}\n" * 2, encoding="utf-8")
    old = {"columns": {"other": {"where": {}, "outcomes": {"memory": HARMLESS}}}}
    merged = merge(old, lines, {"date": "today"})
    assert merged["columns"] == {
        **old["columns"], "docker": {"where": {"date": "today"}, "outcomes": {"memory": STOPPED}},
    }  # fmt: skip


def test_two_outcomes_in_one_run_do_not_pass(tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    with lines.open("w", encoding="utf-8") as file:
        for outcome in (STOPPED, HARMLESS):
            file.write(json.dumps({"row": "a", "executor": "b", "outcome": outcome}) + "\n")
    with pytest.raises(AssertionError, match="earlier"):
        merge({"columns": {}}, lines, {})
