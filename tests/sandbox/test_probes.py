"""The self-test's probe of the environment finds what leaked; the others are proved in rooms."""

import subprocess
import sys

import pytest

from app.sandbox.executors.environment import task_environment
from app.sandbox.probes import _CODE

ENV_ALONE = _CODE.partition("def network")[0].replace("/proc/1/environ", "{path}")


def answer(path: str, environment: dict[str, str]) -> str:
    code = f"{ENV_ALONE.replace('{path}', path)}\nprint(env())"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


CLEAN = task_environment("test")


def test_the_names_of_a_sandbox_are_no_leak() -> None:
    assert answer("/proc/self/environ", CLEAN) == "(True, '0 strange names')"


@pytest.mark.parametrize("name", ["UAOL_DATABASE_URL", "AWS_SECRET_ACCESS_KEY", "SSH_AUTH_SOCK"])
def test_any_other_name_is_one_wherever_it_is_seen(name: str) -> None:
    assert answer("/dev/null", {**CLEAN, name: "canary"}) == "(False, '1 strange names')"
    assert answer("/proc/self/environ", {**CLEAN, name: "x=y"}) == "(False, '1 strange names')"


def test_without_a_sandbox_it_fails() -> None:
    assert answer("/dev/null", {"PATH": "/usr/bin"}).startswith("(False")
