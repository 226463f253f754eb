"""The gate in a pod: it opens only where every wall stands."""

import json
import subprocess
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from app.sandbox.executors.seccomp import build_filter
from sandbox import gate
from tests.sandbox.kubernetes.container import Image, run_once

SOURCE = Path(gate.__file__).read_text(encoding="utf-8")
SHUT = {"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": "1"}
LOOK = (
    "import os\n"
    "print(sorted(os.environ.items()), os.getcwd())\n"
    "print(open('/proc/self/status').read().split('Seccomp:')[1].split()[0])\n"
    "print(open('/proc/self/environ').read())\n"
)


def passed(
    image: Image, variables: dict[str, str], stdin: str = "x", **changed: Any
) -> subprocess.CompletedProcess[str]:
    """What came of a gate with these options changed."""
    machine = subprocess.run(["uname", "-m"], capture_output=True, text=True, check=True)
    options = {
        "mode": "run", "argv": ["-I", "-S", "-c", LOOK], "environment": {"LC_ALL": "C.UTF-8"},
        "filters": {machine.stdout.strip(): b64encode(build_filter()).decode()},
        "seconds": 5, "patience": 0, "connect": 1, **changed,
    }  # fmt: skip
    command = ["/usr/bin/python3", "-I", "-S", "-c", SOURCE, json.dumps(options)]
    return run_once(image, command, variables, stdin)


def test_an_open_gate_leads_to_the_runner_and_nothing_else(image: Image) -> None:
    done = passed(image, SHUT)
    seen, mode, raw = done.stdout.splitlines()
    assert seen == "[('LC_ALL', 'C.UTF-8')] /task/output"
    assert mode == "2"
    assert raw.strip("\0") == "LC_ALL=C.UTF-8"


@pytest.mark.parametrize(
    "variables",
    [{}, {"KUBERNETES_SERVICE_HOST": "x"}, {**SHUT, "KUBERNETES_SERVICE_PORT": "https"}],
)
def test_walls_that_cannot_be_proven_are_none(image: Image, variables: dict[str, str]) -> None:
    assert passed(image, variables).returncode == gate.NO_TARGET


@pytest.mark.parametrize("filters", [{}, {"vax": ""}])
def test_no_filter_is_no_sandbox(image: Image, filters: dict[str, str]) -> None:
    done = passed(image, SHUT, filters=filters)
    assert done.returncode == gate.NO_FILTER
    assert "no system-call filter" in done.stderr


def test_a_filter_that_the_kernel_refuses_is_no_sandbox(image: Image) -> None:
    machine = subprocess.run(["uname", "-m"], capture_output=True, text=True, check=True)
    nonsense = {machine.stdout.strip(): b64encode(b"\xff" * 16).decode()}
    done = passed(image, SHUT, filters=nonsense)
    assert done.returncode == gate.NO_FILTER
    assert "refused" in done.stderr


def test_a_pod_that_nobody_speaks_to_leaves(image: Image) -> None:
    done = passed(image, SHUT, seconds=0, stdin="")
    assert done.returncode == gate.NOT_SPOKEN_TO
    assert done.stdout == ""


def test_the_survey_is_the_images_own_word(image: Image) -> None:
    done = passed(image, SHUT, mode="survey")
    assert json.loads(done.stdout) == json.loads(
        (image.tools / "image.json").read_text(encoding="utf-8")
    )
