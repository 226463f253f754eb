"""The judge of histories: a sound one passes, and every kind of broken promise is seen."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.faults.history import Row, judge

Events = list[dict[str, Any]]
Break = Callable[[Events, list[Row]], None]


def line(event: str, began: int, done: int, pid: int = 1, **data: Any) -> dict[str, Any]:
    return {"event": event, "pid": pid, "began": began, "done": done, **data}


def sound() -> tuple[Events, list[Row]]:
    """One job whose first worker dies in the call and whose second one ends it."""
    events = [
        line("submit", 0, 1, 9, key="k"),
        line("ok", 0, 10, 9, key="k", job="j"),
        line("start", 11, 12, 1, leases=[["j", 1]]),
        line("call", 13, 13, 1, job="j", key="j", call="a"),
        line("start", 30, 31, 2, leases=[["j", 2]]),
        line("call", 32, 32, 2, job="j", key="j", call="b"),
        line("end", 33, 40, 2, ended=[["j", 2, "Success"]], stale=[]),
        line("end", 50, 51, 1, ended=[], stale=[["j", 1, "Success"]]),
    ]
    return events, [Row("j", "Success", 2, "k", {"call": "b"}, 5, [("captured", 5)], False)]


def change(rows: list[Row], **to: Any) -> None:
    rows[0] = replace(rows[0], **to)


def lease_again(events: Events, rows: list[Row]) -> None:
    events.append(line("start", 60, 61, 3, leases=[["j", 3]]))


def end_again(events: Events, rows: list[Row]) -> None:
    events[7]["ended"], events[7]["stale"] = [["j", 1, "Success"]], []


def same_token(events: Events, rows: list[Row]) -> None:
    events.append(line("start", 31, 32, 3, leases=[["j", 2]]))


def second_job(events: Events, rows: list[Row]) -> None:
    rows.append(replace(rows[0], job_id="other", output=None))


def reversed_leases(events: Events, rows: list[Row]) -> None:
    events[4].update(began=1, done=2)


BREAKS: dict[str, Break] = {
    "lost": lambda events, rows: rows.clear(),
    "not ended": lambda events, rows: change(rows, status="Running", settlements=[]),
    "still queued": lambda events, rows: change(rows, is_queued=True),
    "paid twice": lambda events, rows: change(rows, settlements=[("captured", 5)] * 2),
    "paid and failed": lambda events, rows: change(rows, status="Failed"),
    "paid too much": lambda events, rows: change(rows, settlements=[("captured", 6)]),
    "never settled": lambda events, rows: change(rows, settlements=[]),
    "stale token": lambda events, rows: change(rows, attempt=1),
    "stale result": lambda events, rows: change(rows, output={"call": "a"}),
    "made-up result": lambda events, rows: change(rows, output={"call": "c"}),
    "leased after its end": lease_again,
    "ended twice": end_again,
    "one token twice": same_token,
    "one key twice": second_job,
    "leases out of order": reversed_leases,
    "unasked": lambda events, rows: events.pop(0) and None,
}


def test_a_sound_history_passes() -> None:
    assert judge(*sound()) == []


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_promise_is_seen(name: str) -> None:
    events, rows = copy.deepcopy(sound())
    BREAKS[name](events, rows)
    assert judge(events, rows) != []
