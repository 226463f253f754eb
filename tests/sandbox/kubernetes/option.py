"""The option `--k8s`: run the sandbox's suites on a real cluster as well.

Without it no test claims anything about one: those tests are deselected, not skipped or passed,
and the summary says so. With it, `KUBECONFIG` and the settings `UAOL_SANDBOX_K8S_*` name the
cluster, and what cannot run there fails.
"""

import os

import pytest

NAME = "kubernetes"
_NEEDED = ("KUBECONFIG", "UAOL_SANDBOX_K8S_IMAGE")
# Of sandboxes' processes on this machine, and of the way out, which a cluster's have not.
_HERE_ONLY = ("tests/sandbox/test_faults.py", "tests/sandbox/abuse/test_egress.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    told = "run the sandbox's conformance and abuse suites on the cluster of KUBECONFIG too"
    parser.addoption("--k8s", action="store_true", default=False, help=told)


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark of tests that need a cluster."""
    config.addinivalue_line("markers", "k8s: needs a real Kubernetes cluster and --k8s")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuse the option where no cluster is named."""
    missing = [name for name in _NEEDED if not os.environ.get(name)]
    if session.config.getoption("--k8s") and missing:
        raise pytest.UsageError(f"--k8s needs {' and '.join(missing)} in the environment")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a real cluster, unless there is one."""
    has_cluster = config.getoption("--k8s")
    left_out, kept = [], []
    for item in items:
        is_possible = has_cluster and not item.nodeid.startswith(_HERE_ONLY)
        (left_out if needs_cluster(item) and not is_possible else kept).append(item)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say what was not shown."""
    if not config.getoption("--k8s"):
        terminalreporter.write_line(
            "kubernetes: tested against a pretended API server only; --k8s runs the suites on a"
            " real cluster"
        )


def needs_cluster(item: pytest.Item) -> bool:
    """Whether a test is marked so, or is one of a suite over all executors."""
    if item.get_closest_marker("k8s") is not None:
        return True
    params = getattr(getattr(item, "callspec", None), "params", {})
    return str(params.get("sandbox", "")).partition("-")[0] == NAME
