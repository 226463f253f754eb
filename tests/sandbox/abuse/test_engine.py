"""The container engine goes away under a task: nobody pays for it, and the next one is served."""

import asyncio
import gc

import pytest

from app.sandbox import TaskSpec
from tests.conftest import cannot_run
from tests.sandbox.abuse.conftest import USUAL, Attack, started
from tests.sandbox.abuse.host import Host, running, until
from tests.sandbox.abuse.matrix import HELD, note
from tests.sandbox.docker import engine

pytestmark = pytest.mark.anyio


@pytest.mark.timeout(900)
async def test_engine_restart(host: Host, attack: Attack) -> None:
    engine.need_docker()
    if not engine.is_ours():
        cannot_run("this engine was not started by the tests, so they may not end it")
    code = attack("while True: signal.pause()")
    with engine.using_engine(alone=True):
        if others := engine.strangers():
            cannot_run(f"containers that are not the tests' own would be ended: {others}")
        async with started("docker") as sandbox:
            task = asyncio.ensure_future(sandbox.run(TaskSpec(host.mark, code, limits=USUAL)))
            await until(lambda: bool(running(host.mark)))
            await asyncio.to_thread(engine.control, "kill")
            try:
                result = await task
            finally:
                await asyncio.to_thread(engine.control, "start")
            assert result.status == "infra_error"
            await until(lambda: not running(host.mark))
            again = await sandbox.run(TaskSpec("again", "print(1)", limits=USUAL))
            assert (again.status, again.stdout) == ("ok", "1\n")
            note("engine_restart", sandbox.capabilities(), HELD)
    # what it left open is told of here, and in no other test
    gc.collect()
