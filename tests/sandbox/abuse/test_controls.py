"""The same attacks in a plain process, where they work: so that no wall is proven by a dud."""

from pathlib import Path

import pytest

from tests.sandbox.abuse.attacks import ROWS
from tests.sandbox.abuse.host import Host
from tests.sandbox.abuse.plain import run_plain
from tests.sandbox.abuse.rows import Row
from tests.sandbox.abuse.test_rows import CODED, matches

CONTROLLED = [row for row in CODED if row.control.done]


@pytest.mark.parametrize("row", CONTROLLED, ids=lambda row: f"{row.number}-{row.name}")
def test_it_works_without_the_wall(row: Row, host: Host) -> None:
    control = row.control
    came = run_plain(row.code, host, control.params(host), control.user)
    for pattern in control.done:
        tried = {what: how for what, how in came.tried.items() if matches(what, [pattern])}
        assert tried, pattern
        assert set(tried.values()) == {"done"}, tried
    for name, text in control.leaves:
        assert Path(host.folder, name).read_text(encoding="utf-8") == text


def test_each_attack_has_a_control_or_a_reason() -> None:
    without = [row.name for row in CODED if not (row.control.done or row.control.reason)]
    assert without == []
    assert len(CONTROLLED) > len(CODED) / 2


def test_the_list_is_whole() -> None:
    """Rows 1 to 31 are the list the sandbox was designed against."""
    assert [row.number for row in ROWS] == list(range(1, len(ROWS) + 1))
    assert len(ROWS) >= 31
    assert len({row.name for row in ROWS}) == len(ROWS)
