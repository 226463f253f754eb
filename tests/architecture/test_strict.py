"""No way of skipping passes where every test must run."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
_TESTS = """
import pytest
def test_by_itself():
    pytest.skip("one")
@pytest.mark.skipif(True, reason="two")
def test_by_mark():
    pass
def test_by_import():
    pytest.importorskip("a_library_that_is_not_there", reason="three")
@pytest.fixture
def missing():
    pytest.skip("four")
def test_by_fixture(missing):
    pass
def test_that_runs():
    pass
"""


def _run(folder: Path, *, strict: bool) -> str:
    (folder / "test_skipped.py").write_text(_TESTS, encoding="utf-8")
    (folder / "test_module.py").write_text(
        'import pytest\npytest.skip("five", allow_module_level=True)\n', encoding="utf-8"
    )
    command = [sys.executable, "-m", "pytest", "-p", "tests.strict", "-q", "-rsf", "--rootdir=."]
    environ = {**os.environ, "UAOL_TEST_STRICT": "1" if strict else "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "--continue-on-collection-errors", "."], cwd=folder, env=environ,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout


def test_elsewhere_a_skip_is_a_skip(tmp_path: Path) -> None:
    assert "1 passed, 5 skipped" in _run(tmp_path, strict=False)


def test_where_every_test_must_run_it_fails_with_its_reason(tmp_path: Path) -> None:
    told = _run(tmp_path, strict=True)
    assert "2 failed, 1 passed, 3 errors" in told
    for reason in ("one", "two", "three", "four", "five"):
        assert f"every test must run here, and this one did not: Skipped: {reason}" in told
