"""A process's sandbox from its settings."""

from pathlib import Path
from typing import Any

import pytest

from app.kernel.errors import AppError, Code
from app.kernel.settings import Settings
from app.sandbox import make_sandbox


def names(home: Path, *, is_daemon: bool = False, **settings: Any) -> list[str]:
    """The executors that would be tried, each name once."""
    made = make_sandbox(Settings(home=home, **settings), is_daemon=is_daemon)
    return list(dict.fromkeys(executor.name for executor in made.sandbox._executors))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, ["docker", "bubblewrap"]),
        ({"sandbox_executor": "bubblewrap"}, ["bubblewrap"]),
        ({"sandbox_executor": "kubernetes"}, ["kubernetes"]),
        ({"sandbox_daemon": "unix:/run/s.sock"}, ["sandboxd"]),
        (
            {"sandbox_daemon": "unix:/run/s.sock", "sandbox_executor": "bubblewrap"},
            ["bubblewrap"],
        ),
    ],
)
def test_who_runs_code(tmp_path: Path, settings: dict[str, str], expected: list[str]) -> None:
    assert names(tmp_path, **settings) == expected


@pytest.mark.parametrize("executor", ["auto", "sandboxd"])
def test_a_daemon_asks_no_daemon(tmp_path: Path, executor: str) -> None:
    settings: dict[str, Any] = {
        "sandbox_daemon": "unix:/run/s.sock",
        "sandbox_executor": executor,
    }
    assert names(tmp_path, is_daemon=True, **settings) == ["docker", "bubblewrap"]


@pytest.mark.parametrize(
    "settings",
    [
        {"sandbox_executor": "subprocess"},
        {"sandbox_executor": "sandboxd"},
        {"sandbox_daemon": "nonsense"},
        {"sandbox_wheelhouse": "/nonexistent"},
        {"sandbox_volumes": "{"},
        {"sandbox_egress": "/nonexistent.yaml"},
    ],
)
def test_a_mistake_is_told_at_the_start(tmp_path: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(AppError) as caught:
        names(tmp_path, **settings)
    assert caught.value.code is Code.CONFIG_INVALID
    assert caught.value.hint


def test_the_tool_learns_of_policies_and_data_sets(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "hg38").mkdir(parents=True)
    made = make_sandbox(Settings(home=tmp_path / "home", sandbox_volumes=str(data)))
    policies, volumes = made.notes()
    assert "bio" in policies
    assert "hg38" in volumes
    assert made.policies == ("bio",)
    closed = tmp_path / "policies.yaml"
    closed.write_text("policies: {bio: null}\n")
    none = make_sandbox(Settings(home=tmp_path / "home", sandbox_egress=closed))
    assert (none.policies, none.notes()) == ((), [])
