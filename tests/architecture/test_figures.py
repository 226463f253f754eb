"""A bench tells every figure it was asked for, names the failed ones, and then fails itself."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from bench.figures import main, parser


@dataclass(frozen=True, slots=True)
class Options:
    """What may be asked for."""

    count: int = 3


def _counted(options: Options, _before: Mapping[str, Any]) -> dict[str, Any]:
    return {"counted": options.count, "third": options.count / 3}


def _doubled(_options: Options, before: Mapping[str, Any]) -> dict[str, Any]:
    return {"doubled": before["counted"] * 2}


def _broken(_options: Options, _before: Mapping[str, Any]) -> dict[str, Any]:
    raise ExceptionGroup("many", [ValueError("no peer")])


FIGURES = {"counted": _counted, "broken": _broken, "doubled": _doubled}


def _asked(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["bench", *arguments])
    asked = parser("bench.none", FIGURES, None)
    asked.add_argument("--count", type=int)
    asked.add_argument("--quick", dest="preset", action="store_const", const=Options(count=1))
    main(asked, FIGURES, Options())


def _last_line(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def test_the_others_are_told_beside_a_failed_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        _asked(monkeypatch)
    found = _last_line(capsys)
    assert ended.value.code == 1
    assert (found["counted"], found["doubled"], found["options"]) == (3, 6, {"count": 3})
    assert found["failed"] == {"broken": "ValueError: no peer"}


@pytest.mark.parametrize(("arguments", "count"), [(["--count", "2"], 2), (["--quick"], 1)])
def test_only_what_was_asked_for(
    arguments: list[str],
    count: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _asked(monkeypatch, "--only", "doubled,counted", *arguments)
    found = _last_line(capsys)
    assert (found["counted"], found["doubled"]) == (count, 2 * count)
    assert found["third"] == float(f"{count / 3:.4g}")
    assert "failed" not in found


def test_a_name_that_is_no_figure_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit) as ended:
        _asked(monkeypatch, "--only", "counted,raced")
    assert ended.value.code == 2
