import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.kernel.errors import Code
from app.proxy import sandbox_tool
from app.sandbox import Executor, Limits, Sandbox, TaskResult, TaskSpec, make_executors
from tests.conftest import cannot_run
from tests.proxy.harness import USER, World, running

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def sandboxed() -> AsyncIterator[World]:
    sandbox = Sandbox(make_executors("bubblewrap"), Limits(wall_s=20, memory_bytes=2**30))
    status = await sandbox.start()
    if not status.available:
        cannot_run(f"{status.reason} {status.hint}")
    async with running(builtins=[sandbox_tool(sandbox, price_micro=7)]) as world:
        yield world
    await sandbox.close()


async def test_code_reads_an_input_file_and_leaves_an_output_file(
    sandboxed: World, tmp_path: Path
) -> None:
    (tmp_path / "data").write_text("ACGT")
    code = """
text = open("/task/input/a.txt").read()
open("/task/output/b.txt", "w").write(text[::-1])
print(len(text))
"""
    inputs = [{"name": "a.txt", "file_id": sandboxed.add_file(USER, tmp_path / "data")}]
    result = await sandboxed.call("sandbox.run_python", code=code, input_files=inputs)
    answer = result.structured
    assert answer is not None
    assert (answer["status"], answer["exit_code"], answer["stdout"]) == ("ok", 0, "4\n")
    (file,) = answer["files"]
    assert base64.b64decode(file["content_base64"]) == b"TGCA"
    assert (file["name"], file["size"]) == ("b.txt", 4)
    assert file["sha256"] == hashlib.sha256(b"TGCA").hexdigest()
    assert result.content == [{"type": "text", "text": "4\n"}]


async def test_an_error_of_the_code_is_a_result(sandboxed: World) -> None:
    result = await sandboxed.call("sandbox.run_python", code="raise ValueError('boom')")
    assert result.structured is not None
    assert (result.structured["status"], result.is_error) == ("error", False)
    assert "boom" in result.structured["stderr"]


async def test_code_that_runs_too_long_is_ended_and_says_so(sandboxed: World) -> None:
    code = "import signal; signal.pause()"
    result = await sandboxed.call("sandbox.run_python", 1.0, code=code)
    assert result.structured is not None
    assert result.structured["status"] == "timeout"


async def test_a_package_that_is_not_there_is_refused(sandboxed: World) -> None:
    error = await sandboxed.refused("sandbox.run_python", code="1", requirements=["no-such-thing"])
    assert error.code is Code.SANDBOX_REQUIREMENT_UNKNOWN


async def test_without_walls_nothing_runs() -> None:
    sandbox = Sandbox([])
    await sandbox.start()
    async with running(builtins=[sandbox_tool(sandbox)]) as world:
        error = await world.refused("sandbox.run_python", code="1")
        assert error.code is Code.SANDBOX_UNAVAILABLE


class _Failing(Sandbox):
    """A sandbox whose executor breaks at every task."""

    def __init__(self, executors: list[Executor]) -> None:
        super().__init__(executors)

    async def run(self, spec: TaskSpec) -> TaskResult:
        return TaskResult("infra_error", stderr="no space")


async def test_a_fault_of_the_sandbox_is_not_the_codes() -> None:
    async with running(builtins=[sandbox_tool(_Failing([]))]) as world:
        error = await world.refused("sandbox.run_python", code="1")
        assert (error.code, error.is_retryable) == (Code.SANDBOX_FAILED, True)
        assert "no space" in error.message


async def test_the_tool_is_listed_with_its_price_as_trusted() -> None:
    async with running(builtins=[sandbox_tool(Sandbox([]), price_micro=7)]) as world:
        (listing,) = await world.proxy.listings()
        assert listing.server.is_trusted
        assert listing.server.prices.of("run_python") == 7
        assert listing.server.gateway_url == "builtin:sandbox"
