"""The engine that tests share: whether it is there, whose it is, and who may disturb it."""

import asyncio
import fcntl
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from app.sandbox.executors.docker.orphans import HOST_LABEL
from sandbox.image import base_name, image_name
from sandbox.image.build import build_image, default_cache
from sandbox.image.load import has_image
from sandbox.image.root import BuildError
from tests.conftest import cannot_run

SCRIPT = Path(__file__).parents[2] / "docker_engine.sh"
SOCKET = "/var/run/docker.sock"
_holds: list[bool] = []
_LOCK = Path(tempfile.gettempdir()) / f"uaol-tests-engine-{os.getuid()}.lock"


@cache
def _reason() -> str:
    """Why there is no engine with the image here, or nothing; builds the image's last layer."""
    try:
        if not has_image(image_name()):
            if not has_image(base_name()):
                return "the sandbox's image is not built: run tests/system_packages.sh as root"
            build_image(default_cache())
    except BuildError as error:
        return str(error)
    return ""


def need_docker() -> None:
    """Skip, or fail where nothing may be skipped, without an engine that has the image."""
    # not while another test restarts it
    with using_engine():
        reason = _reason()
    if reason:
        cannot_run(reason)


@contextmanager
def using_engine(*, alone: bool = False) -> Iterator[None]:
    """Hold the engine: many at once, or `alone` to end it; over all test processes.

    Who holds it may hold it again, but not then alone.
    """
    if _holds:
        assert not alone or _holds[-1], "what is shared cannot be had alone"
        yield
        return
    with _LOCK.open("w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        _holds.append(alone)
        try:
            yield
        finally:
            _holds.pop()


def is_ours() -> bool:
    """Whether the tests started this engine, and so may restart it."""
    return subprocess.run([SCRIPT, "ours"], check=False).returncode == 0


def control(what: str) -> None:
    """`start`, `stop` or `kill` the tests' engine."""
    subprocess.run([SCRIPT, what], check=True)


def docker(*arguments: str) -> str:
    """What the `docker` program says."""
    done = subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def runtimes() -> set[str]:
    """The runtimes that the engine knows."""
    return set(json.loads(docker("info", "--format", "{{json .Runtimes}}")))


def containers(label: str = "") -> set[str]:
    """Ids of all containers of sandboxes, running or not."""
    chosen = ("--filter", f"label={label}") if label else ()
    return set(docker("ps", "--all", "--quiet", "--no-trunc", *chosen).split())


def running(label: str) -> set[str]:
    """Ids of the containers that run and have that label."""
    return set(docker("ps", "--quiet", "--no-trunc", "--filter", f"label={label}").split())


def strangers() -> set[str]:
    """Ids of the containers that run and are no sandboxes: asked at once, as others come and go."""
    told = docker("ps", "--no-trunc", f'--format={{{{.ID}}}} {{{{.Label "{HOST_LABEL}"}}}}')
    return {line.strip() for line in told.splitlines() if len(line.split()) == 1}


async def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for the outside world, looking often."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        await asyncio.sleep(0.02)
