"""Where every test must run (`UAOL_TEST_STRICT=1`), one that is skipped, in whatever way, fails."""

import os
from collections.abc import Generator
from typing import TypeVar

import pytest

IS_STRICT = os.environ.get("UAOL_TEST_STRICT") == "1"
Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def _strictly(report: Report) -> Report:
    if IS_STRICT and report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"every test must run here, and this one did not: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _strictly((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return _strictly((yield))
