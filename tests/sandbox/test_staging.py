"""The view of the host that a launcher of a server run by root has."""

import os
import subprocess
from pathlib import Path

import pytest

from app.sandbox.executors.bubblewrap.staging import Stage
from tests.conftest import cannot_run


def mounts(text: str) -> set[str]:
    return {line.split()[4] for line in text.splitlines()}


def lasting(points: set[str]) -> set[str]:
    """Those that no engine and no other test takes away meanwhile."""
    others = ("/docker/", "/containerd/", "/pytest-")
    return {point for point in points if not any(name in point for name in others)}


def test_a_launcher_sees_no_mounts_that_it_does_not_need(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        cannot_run("only a server run by root has a view of its own")
    here = mounts(Path("/proc/self/mountinfo").read_text())
    if "/sys" not in here:
        cannot_run("nothing is mounted here that launchers do not need")
    tmp_path.chmod(0o755)
    (tmp_path / "data").write_text("shown")
    stage = Stage([tmp_path], ["/usr", "/bin", "/lib", "/lib64"])
    try:
        seen = subprocess.run(
            [*stage.enter(), "cat", "/proc/self/mountinfo", str(stage.find(tmp_path / "data"))],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    finally:
        stage.close()
    told, _, data = seen.rpartition("\n")
    assert data == "shown"
    there = mounts(told)
    assert {"/", "/proc", str(stage.find(tmp_path))} <= there
    assert not any(point.startswith("/sys") for point in there)
    assert mounts(Path("/proc/self/mountinfo").read_text()) >= lasting(here)


def test_a_missing_folder_is_known_to_be(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        cannot_run("only a server run by root has a view of its own")
    stage = Stage([tmp_path], ["/usr"])
    try:
        assert stage.has(tmp_path)
        with pytest.raises(FileNotFoundError):
            stage.has(tmp_path / "none")
    finally:
        stage.close()
