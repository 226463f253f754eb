"""The isolated recount in the real sandbox, where this machine has one."""

from collections.abc import AsyncIterator

import jsonschema_rs
import pytest

from app.kernel.principal import SERVICE
from app.proxy import ToolCall, sandbox_tool
from app.sandbox import Sandbox, make_executors
from tests.agents.contexts import JSON, Files
from tests.agents.knockouts import HBB_RECORD, bench
from tests.conftest import cannot_run

pytestmark = pytest.mark.anyio


@pytest.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    opened = Sandbox(make_executors("bubblewrap"))
    status = await opened.start()
    if not status.available:
        cannot_run(f"no sandbox: {status.reason} {status.hint}")
    yield opened
    await opened.close()


async def test_the_script_agrees_inside_the_sandbox(sandbox: Sandbox) -> None:
    files = Files()
    files.add(HBB_RECORD)
    tool = sandbox_tool(sandbox)

    async def run_python(arguments: JSON) -> JSON:
        jsonschema_rs.validate(dict(tool.definition.input_schema), arguments)
        call = ToolCall(SERVICE, tool.definition.full_name, arguments)
        answer = await tool.handler(call, files.resolve(arguments))
        structured: JSON = answer.structured
        return structured

    run = await bench(tools={"sandbox.run_python": run_python}).run()
    assert run.outcome.is_success
    [check] = [one for one in run.report["checks"] if one["name"] == "isolated_recount"]
    assert check["status"] == "passed"
    assert check["figures"]["record_length"] == 73308
    assert [one["id"] for one in check["figures"]["guides"]] == run.report["chosen"]
