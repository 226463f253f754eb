"""Containers that a dead process left behind are removed; those of the living never are."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.sandbox.executors.docker import DockerBackend
from app.sandbox.executors.docker.orphans import (
    HOST_LABEL,
    PROCESS_LABEL,
    host_id,
    is_orphan,
    labels,
)
from app.sandbox.executors.processes import process_id
from sandbox.image import image_name
from tests.sandbox.docker.engine import containers, docker

pytestmark = pytest.mark.anyio

NAMESPACE = process_id().partition("-")[0]


def entry(owner: str, state: str = "running") -> dict[str, Any]:
    return {"Id": "c", "State": state, "Labels": {PROCESS_LABEL: owner}}


@contextmanager
def owner() -> Iterator[str]:
    """The label of a process that dies at the end of the block."""
    code = "from app.sandbox.executors.processes import process_id; print(process_id())"
    command = [sys.executable, "-c", f"{code}; import sys; sys.stdout.flush(); sys.stdin.read()"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()


def dead_owner() -> str:
    """The label of a process that was there a moment ago."""
    with owner() as name:
        return name


def test_the_living_keep_theirs() -> None:
    assert not is_orphan(entry(process_id()))
    assert not is_orphan(entry(process_id(), "exited"))
    parent = os.getppid()
    started = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[19]
    assert not is_orphan(entry(f"{NAMESPACE}-{parent}-{started}"))


def test_what_the_dead_left_is_an_orphan() -> None:
    assert is_orphan(entry(dead_owner()))
    # the pid was given to somebody else since
    assert is_orphan(entry(f"{NAMESPACE}-{os.getpid()}-1"))


@pytest.mark.parametrize("owner", ["1-2-3", "", "nonsense"])
def test_of_strangers_only_what_has_stopped_is_taken(owner: str) -> None:
    assert not is_orphan(entry(owner))
    assert not is_orphan(entry(owner, "created"))
    assert is_orphan(entry(owner, "exited"))


@pytest.fixture
def left(engine: None) -> Iterator[dict[str, str]]:
    """Running containers by whose they are: a dead process's, a living one's, another machine's."""
    made = {}
    # alive until they run: other tests sweep, too, and one that does not run yet cannot be started
    with owner() as dead:
        owners = {
            "dead": {HOST_LABEL: host_id(), PROCESS_LABEL: dead},
            "living": labels(),
            "elsewhere": {HOST_LABEL: "another", PROCESS_LABEL: dead},
        }
        for name, marks in owners.items():
            options = [f"--label={key}={value}" for key, value in marks.items()]
            made[name] = docker(
                "run", "--detach", "--network=none", *options, image_name(), "sleep", "600"
            )
    yield made
    for container in made.values():
        subprocess.run(["docker", "rm", "--force", container], capture_output=True, check=False)


async def test_a_start_sweeps_what_earlier_processes_left(left: dict[str, str]) -> None:
    backend = DockerBackend()
    await backend.capabilities()
    await backend.close()
    there = containers(HOST_LABEL)
    assert left["dead"] not in there
    assert {left["living"], left["elsewhere"]} <= there
