"""An engine that is not there, goes away, comes back, or has lost what we need."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from app.sandbox.executors.docker import DockerBackend, docker_backend
from app.sandbox.executors.docker.engine import Engine
from app.sandbox.executors.docker.link import DockerLink
from app.sandbox.executors.docker.orphans import PROCESS_LABEL
from app.sandbox.executors.processes import process_id
from app.sandbox.executors.usage import tree_usage
from app.sandbox.types import IsolationError
from sandbox.image import base_name, image_name
from tests.conftest import cannot_run
from tests.sandbox.docker.conftest import ROOM, Forwarder
from tests.sandbox.docker.engine import (
    SOCKET,
    containers,
    control,
    docker,
    is_ours,
    need_docker,
    runtimes,
    strangers,
    until,
    using_engine,
)

pytestmark = pytest.mark.anyio


def ours() -> set[str]:
    return containers(f"{PROCESS_LABEL}={process_id()}")


async def test_the_sdk_is_not_loaded_for_nothing() -> None:
    code = (
        "import sys; from app.sandbox.executors.docker import docker_backend; docker_backend();"
        "sys.exit('docker' in sys.modules or 'requests' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


async def test_no_engine_is_told_with_what_to_do(tmp_path: Path) -> None:
    backend = docker_backend(socket=str(tmp_path / "absent.sock"))
    with pytest.raises(IsolationError, match="no Docker engine") as caught:
        await backend.capabilities()
    assert "Start Docker" in caught.value.hint


async def test_a_socket_that_nobody_serves_is_told(tmp_path: Path) -> None:
    server = await asyncio.start_unix_server(lambda *_: None, tmp_path / "docker.sock")
    server.close()
    backend = docker_backend(socket=str(tmp_path / "docker.sock"))
    with pytest.raises(IsolationError, match="does not answer"):
        await backend.capabilities()


async def test_a_missing_image_is_told_with_what_to_do(engine: None) -> None:
    backend = docker_backend(image="uaol-sandbox:absent")
    with pytest.raises(IsolationError, match=r"uaol-sandbox:absent is not there") as caught:
        await backend.launch(ROOM)
    assert "python -m sandbox.image" in caught.value.hint
    assert "sandbox/Dockerfile" in caught.value.hint


async def test_an_image_that_is_none_of_ours_is_refused(engine: None) -> None:
    with pytest.raises(IsolationError, match="not a sandbox image"):
        await docker_backend(image=base_name()).capabilities()
    assert ours() == set()


async def test_an_unknown_runtime_is_refused(engine: None) -> None:
    with pytest.raises(IsolationError, match="no runtime named 'absent'") as caught:
        await docker_backend(runtime="absent").capabilities()
    assert "runc" in caught.value.hint


async def test_it_says_what_it_is(backend: DockerBackend) -> None:
    told = await backend.capabilities()
    assert (told.executor, told.level, told.python) == ("docker", "container", "3.11.2")
    assert {"numpy", "pandas", "biopython", "matplotlib", "plotly"} <= set(told.distributions)
    assert told.image.startswith("sha256:")
    assert "total memory" not in told.best_effort
    head = await backend.head()
    assert head["prefix"] == "/usr"
    assert head["tools"] == "/opt/uaol"


async def test_kill_removes_and_may_be_asked_for_twice(backend: DockerBackend) -> None:
    link = await backend.launch(ROOM)
    assert link.container in ours()
    pid = _pid(link)
    await until(lambda: tree_usage(pid).peak_memory_bytes > 2**20)
    first, second = await asyncio.gather(link.kill(), link.kill())
    assert first == second == await link.kill()
    assert (first.is_oom, first.complaint, first.outage) == (False, "", "")
    assert first.usage.peak_memory_bytes > 2**20
    assert link.container not in ours()
    assert await link.reader.read() == b""
    with pytest.raises(OSError, match="gone"):
        await link.send(b"x")


async def test_one_killed_from_outside_is_not_the_tasks_fault(link: DockerLink) -> None:
    docker("kill", link.container)
    assert await link.reader.read() == b""
    fate = await link.kill()
    assert (fate.is_oom, fate.complaint) == (False, "")
    assert fate.outage == "the container was killed from outside"
    assert link.container not in ours()


async def test_one_removed_from_outside_is_not_the_tasks_fault(link: DockerLink) -> None:
    docker("rm", "--force", link.container)
    assert await link.reader.read() == b""
    assert (await link.kill()).outage == "the container was removed from outside"


async def test_a_busy_engine_is_waited_for(link: DockerLink) -> None:
    """However long it takes, for else the task would be blamed."""
    docker("kill", link.container)
    gate = threading.Event()
    others = [asyncio.ensure_future(link._engine._call(lambda _: gate.wait(60))) for _ in range(6)]
    ending = asyncio.ensure_future(link.kill())
    done, _ = await asyncio.wait([ending], timeout=2.5)
    gate.set()
    assert not done
    assert (await ending).outage == "the container was killed from outside"
    await asyncio.gather(*others)


async def test_an_end_is_noted_once(backend: DockerBackend) -> None:
    """A second note, of a container that is being removed, makes an entry that nobody can remove.

    It comes where the engine is to kill what has just ended by itself: in half of all cases.
    """
    engine = Engine(SOCKET)

    async def end() -> str:
        link = await backend.launch(ROOM)
        pid = (await engine.inspect(link.container))["State"]["Pid"]
        os.kill(pid, signal.SIGKILL)
        await engine.remove(link.container)
        await link.kill()
        return link.container

    with deaths() as told:
        ended = [one for _ in range(4) for one in await asyncio.gather(end(), end(), end())]
        ended.append(await end())
        noted: list[str] = []
        while ended[-1] not in noted:
            line = await asyncio.to_thread(told)
            assert line, "it has hung up"
            noted.append(line.strip())
    engine.close()
    assert sorted(noted) == sorted(ended)


@contextmanager
def deaths() -> Iterator[Callable[[], str]]:
    """What waits for the next of this process's containers that the engine notes the end of.

    It listens all the while: of the past the engine knows no more than a few hundred notes.
    """
    which = ["--filter=event=die", f"--filter=label={PROCESS_LABEL}={process_id()}"]
    command = ["docker", "events", f"--since={time.time():.9f}", *which, "--format={{.Actor.ID}}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as events:
        assert events.stdout is not None
        try:
            yield events.stdout.readline
        finally:
            events.kill()


async def test_a_launch_that_is_given_up_leaves_nothing(backend: DockerBackend) -> None:
    await backend.capabilities()
    for moment in range(0, 200, 20):
        starting = asyncio.ensure_future(backend.launch(ROOM))
        await asyncio.wait([starting], timeout=moment / 1000)
        starting.cancel()
        try:
            await (await starting).kill()
        except asyncio.CancelledError:
            continue
    await until(lambda: ours() == set())


async def test_the_server_hangs_up_and_the_sandbox_ends(link: DockerLink) -> None:
    """As when the server is killed: its end of the wire closes, and with it the runner's."""
    link._attachment.close()
    await until(lambda: _state(link) == "exited")


async def test_an_engine_out_of_reach_is_a_complaint_and_all_is_cleared_later(
    forwarder: Forwarder,
) -> None:
    backend = docker_backend(socket=str(forwarder.path))
    link = await backend.launch(ROOM)
    await forwarder.cut()
    assert await link.reader.read() == b""
    fate = await link.kill()
    assert "does not answer" in fate.outage
    with pytest.raises(OSError, match="does not answer"):
        await backend.launch(ROOM)
    assert link.container in ours()
    await forwarder.start()
    await until(lambda: link.container not in ours())
    again = await backend.launch(ROOM)
    await again.kill()
    await backend.close()


async def test_what_could_not_be_removed_is_tried_once_more_at_the_end(
    forwarder: Forwarder,
) -> None:
    backend = docker_backend(socket=str(forwarder.path))
    link = await backend.launch(ROOM)
    await forwarder.cut()
    await link.kill()
    await forwarder.start()
    await backend.close()
    assert link.container not in ours()


async def test_what_is_to_be_cleared_away_is_not_forgotten_with_the_image(
    forwarder: Forwarder,
) -> None:
    name = f"uaol-test:{uuid4().hex}"
    docker("tag", image_name(), name)
    backend = DockerBackend(name, socket=str(forwarder.path))
    first, second = await backend.launch(ROOM), await backend.launch(ROOM)
    await forwarder.cut()
    docker("image", "rm", name)
    backend._place = None  # as a start does that finds no image
    await first.kill()
    await second.kill()
    await forwarder.start()
    await until(lambda: ours() == set())
    with pytest.raises(IsolationError, match="is not there"):
        await backend.launch(ROOM)
    await backend.close()


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_an_engine_that_restarts_leaves_nothing_and_is_used_again(how: str) -> None:
    need_docker()
    if not is_ours():
        cannot_run("this engine was not started by the tests, so they may not end it")
    with using_engine(alone=True):
        if others := strangers():
            cannot_run(f"containers that are not the tests' own would be ended: {others}")
        backend = docker_backend()
        link = await backend.launch(ROOM)
        control(how)
        try:
            assert await link.reader.read() == b""
            fate = await link.kill()
            assert fate.outage
        finally:
            control("start")
        await until(lambda: link.container not in ours())
        again = await backend.launch(ROOM)
        assert _state(again) == "running"
        await again.kill()
        await backend.close()
        assert ours() == set()


async def test_an_engine_of_ours_is_told_of_gvisor_once_it_is_installed() -> None:
    need_docker()
    settings = Path("/run/uaol-tests-dockerd.json")
    if not is_ours() or not settings.is_file() or shutil.which("runsc") is None:
        cannot_run("it needs runsc, and an engine that the tests started")
    with using_engine(alone=True):
        settings.write_text('{"runtimes": {"another": {"path": "runc"}}}')
        os.kill(int(settings.with_suffix(".pid").read_text()), signal.SIGHUP)
        try:
            await until(lambda: "runsc" not in runtimes())
        finally:
            control("start")
        assert "runsc" in runtimes()


def _state(link: DockerLink) -> str:
    return str(json.loads(docker("inspect", link.container))[0]["State"]["Status"])


def _pid(link: DockerLink) -> int:
    return int(docker("inspect", "--format={{.State.Pid}}", link.container))
