"""What isolated sandboxed code is in the trace of its job and in its usage."""

import pytest

from app.kernel.principal import SERVICE
from tests.orchestration.conftest import Bench
from tests.orchestration.test_egress_trace import traced

pytestmark = pytest.mark.anyio
ANSWER = {"status": "ok", "executor": "docker", "level": "container", "usage": {"cpu_s": 0.25}}


async def quantities(bench: Bench) -> dict[str, object]:
    async with bench.database.begin(SERVICE) as uow:
        (row,) = await uow.fetch("select quantities from app.usage_event")
    return dict(row[0])


async def test_a_run_of_code_tells_its_level(bench: Bench) -> None:
    data = await traced(bench, "sandbox.run_python", ANSWER)
    assert (data["executor"], data["level"]) == ("docker", "container")
    used = await quantities(bench)
    assert (used["executor"], used["level"], used["cpu_ms"]) == ("docker", "container", 250)


async def test_other_tools_cannot_say_so(bench: Bench) -> None:
    data = await traced(bench, "lab.fetch", ANSWER)
    assert not {"executor", "level"} & data.keys()
    assert not {"executor", "level"} & (await quantities(bench)).keys()
