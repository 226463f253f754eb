"""What a task may ask for."""

from dataclasses import replace
from pathlib import Path

import pytest

from app.kernel.errors import AppError, Code
from app.sandbox import InputFile, Limits, TaskSpec
from app.sandbox.policy import available, check_spec, output_name_problem

CEILING = Limits()


def refusal(spec: TaskSpec) -> AppError:
    with pytest.raises(AppError) as caught:
        check_spec(spec, CEILING)
    assert caught.value.code is Code.INVALID_INPUT
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (TaskSpec("t", "x" * (2**20 + 1)), "code"),
        (TaskSpec("t", "print('\ud800')"), "code"),
        (TaskSpec("t", "", limits=replace(CEILING, wall_s=61)), "limits.wall_s"),
        (TaskSpec("t", "", limits=replace(CEILING, processes=0)), "limits.processes"),
        (TaskSpec("t", "", limits=replace(CEILING, memory_bytes=2**40)), "limits.memory_bytes"),
    ],
)
def test_malformed_tasks_name_the_field(spec: TaskSpec, field: str) -> None:
    assert refusal(spec).details == {"field": field}


@pytest.mark.parametrize("name", ["", "..", "a/b", "/etc/passwd", "a\nb", "a\\b", "x" * 201])
def test_input_names_are_plain(name: str) -> None:
    refusal(TaskSpec("t", "", input_files=(InputFile(name, Path("x")),)))


def test_input_names_are_unique() -> None:
    refusal(TaskSpec("t", "", input_files=(InputFile("a", Path("x")), InputFile("a", Path("y")))))


def test_available_leaves_plumbing_out() -> None:
    assert available({"setuptools": "80"}) == []


@pytest.mark.parametrize("name", ["a", "a/b.txt", "Gerät.csv", "a b"])
def test_plain_output_names_pass(name: str) -> None:
    assert output_name_problem(name) is None


@pytest.mark.parametrize("name", ["", "/a", "a//b", "../a", "a/..", "a\x00", "a\u202eb", "a\\b"])
def test_other_output_names_are_refused(name: str) -> None:
    assert output_name_problem(name)
