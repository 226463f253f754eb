"""Packages and data sets through every executor, as a server's settings make them."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from app.kernel.errors import AppError, Code
from app.kernel.settings import Settings
from app.sandbox import AUTO, LayerLimits, Sandbox, TaskResult, TaskSpec, make_sandbox
from tests.conftest import cannot_run
from tests.sandbox.docker.engine import need_docker, using_engine
from tests.sandbox.layers.conftest import PATIENCE_S
from tests.sandbox.layers.wheels import make_wheel

pytestmark = pytest.mark.anyio


@dataclass
class Place:
    """A started sandbox, its wheelhouse and its one data set."""

    sandbox: Sandbox
    wheelhouse: Path
    data: Path
    runs: int = 0

    async def run(self, code: str, *requirements: str, session: str | None = None) -> TaskResult:
        self.runs += 1
        spec = TaskSpec(
            f"run-{self.runs}", code, requirements, limits=self.sandbox.new_limits(),
            session_id=session, owner="me",
        )  # fmt: skip
        return await self.sandbox.run(spec)


@pytest.fixture(params=AUTO)
async def place(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    wheelhouse: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Place]:
    patient = partial(LayerLimits, patience_s=PATIENCE_S)
    monkeypatch.setattr("app.sandbox.making.LayerLimits", patient)
    data = tmp_path / "genomes" / "tiny"
    data.mkdir(parents=True)
    (data / "genome.fa").write_text(">1\nACGT\n")
    settings = Settings(
        home=tmp_path / "home",
        sandbox_executor=request.param,
        sandbox_wheelhouse=wheelhouse,
        sandbox_volumes=json.dumps({"tiny": str(data)}),
        sandbox_pool_least=0,
        sandbox_memory=2**30,
    )
    if request.param == "docker":
        need_docker()
    with using_engine():
        sandbox = make_sandbox(settings).sandbox
        status = await sandbox.start()
        if not status.available:
            await sandbox.close()
            cannot_run(f"{request.param}: {status.reason} {status.hint}")
        yield Place(sandbox, wheelhouse, data)
        await sandbox.close()


CHANGE = """
import os
def attempt(action, *args):
    try:
        action(*args)
    except OSError as error:
        return "refused"
    return "allowed"
def change(file):
    folder = os.path.dirname(file)
    return {attempt(open, file, "a"), attempt(open, folder + "/new", "w"),
            attempt(os.remove, file), attempt(os.chmod, file, 0o666), attempt(os.utime, file),
            attempt(os.rename, folder, folder + "-gone"), attempt(os.symlink, "x", folder + "/l")}
"""


async def test_a_task_has_its_packages_and_nobody_elses(place: Place) -> None:
    make_wheel(place.wheelhouse, "first", "1.0")
    make_wheel(place.wheelhouse, "second", "2.0", requires=["first"])
    code = f"{CHANGE}\nimport first, second\nprint(first.VERSION, change(second.__file__))"
    result = await place.run(code, "second", "packaging")
    assert (result.status, result.stdout) == ("ok", "1.0 {'refused'}\n"), result.stderr
    only = "import first, importlib.util; print(importlib.util.find_spec('second'))"
    assert (await place.run(only, "first")).stdout == "None\n"
    none = await place.run("import first")
    assert "ModuleNotFoundError" in none.stderr


async def test_packages_reach_child_processes(place: Place) -> None:
    make_wheel(place.wheelhouse, "first", "1.0")
    code = (
        "import subprocess, sys\n"
        "print(subprocess.run([sys.executable, '-c', 'import first; print(first.VERSION)'],"
        " capture_output=True, text=True))\n"
    )
    result = await place.run(code, "first")
    assert "stdout='1.0\\n'" in result.stdout, result.stdout


async def test_a_session_keeps_its_packages(place: Place) -> None:
    make_wheel(place.wheelhouse, "first", "1.0")
    await place.run("import first", "first", session="s")
    again = await place.run("print(first.VERSION)", "first", session="s")
    assert again.stdout == "1.0\n", again.stderr


async def test_data_sets_are_read_only(place: Place) -> None:
    code = f"{CHANGE}\nprint(open('/data/tiny/genome.fa').read(), change('/data/tiny/genome.fa'))"
    result = await place.run(code)
    assert result.stdout == ">1\nACGT\n {'refused'}\n", result.stderr
    assert [path.name for path in place.data.iterdir()] == ["genome.fa"]


async def test_what_is_not_there_is_an_error_before_anything_runs(place: Place) -> None:
    make_wheel(place.wheelhouse, "first", "1.0")
    with pytest.raises(AppError) as caught:
        await place.run("print('ran')", "absent")
    assert caught.value.code is Code.SANDBOX_REQUIREMENT_UNKNOWN
    assert caught.value.details["wheelhouse"] == ["first==1.0"]
    with pytest.raises(AppError) as caught:
        await place.run("print('ran')", "-r /etc/passwd")
    assert caught.value.code is Code.INVALID_INPUT


async def test_many_at_once_share_a_layer(place: Place) -> None:
    make_wheel(place.wheelhouse, "first", "1.0")
    code = "import first; print(first.__file__)"
    results = await asyncio.gather(*(place.run(code, "first") for _ in range(4)))
    assert len({result.stdout for result in results}) == 1
    assert results[0].stdout.startswith("/opt/layers/")
