"""`sandbox.run_python` as its user meets it: a real MCP client, real walls, real books."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Literal

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from app.kernel.principal import SERVICE
from app.kernel.settings import Settings
from app.main import create_app
from app.sandbox import TaskResult, TaskSpec
from app.surfaces.listening import bind, listening
from app.surfaces.services import Services
from app.wiring import HubAddress, build
from tests.books import assert_balanced
from tests.conftest import cannot_run
from tests.surfaces.world import Person, person

pytestmark = pytest.mark.anyio
TOOL = "sandbox.run_python"
PRICE = 20_000


@pytest.fixture
async def services(dsn: str, tmp_path: Path) -> AsyncIterator[Services]:
    # Memory for waiting rooms without imports only: to make the others takes seconds.
    settings = Settings(
        home=tmp_path / "home", sandbox_executor="bubblewrap", sandbox_pool_memory=40 * 2**20
    )
    made = build(settings, HubAddress(dsn, dsn, is_embedded=True), [], has_worker=False)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(made.database.close)
        await made.wakeups.start()
        stack.push_async_callback(made.wakeups.close)
        status = await made.sandbox.start()
        stack.push_async_callback(made.sandbox.close)
        if not status.available:
            cannot_run(f"{status.reason} {status.hint}")
        await made.proxy.start()
        stack.push_async_callback(made.close_clients)
        async with made.database.begin(SERVICE) as uow:
            await made.registry.refresh(uow)
        yield made


@pytest.fixture
async def alice(services: Services) -> Person:
    return await person(services, "alice@example.org")


@pytest.fixture(params=["auto", "legacy"])
async def client(
    request: pytest.FixtureRequest, services: Services, alice: Person
) -> AsyncIterator[Client]:
    mode: Literal["auto", "legacy"] = request.param
    app = create_app(services)
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(
            listening(app, services.settings, bind("127.0.0.1", 0))
        )
        http = await stack.enter_async_context(
            httpx2.AsyncClient(headers=dict(alice.headers), timeout=60)
        )
        transport = streamable_http_client(f"{url}/mcp", http_client=http)
        yield await stack.enter_async_context(Client(transport, mode=mode))


async def called(client: Client, **given: Any) -> tuple[dict[str, Any], int, list[Any]]:
    """The structured answer, what was charged for it, and the content."""
    result = await client.call_tool(TOOL, given)
    assert not result.is_error, result.content
    assert result.meta is not None
    return dict(result.structured_content), result.meta["uaol/charged_micro"], list(result.content)


async def test_files_in_a_picture_and_a_value_out(client: Client, services: Services) -> None:
    if "matplotlib" not in services.sandbox.capabilities().distributions:
        cannot_run("matplotlib is not installed")
    code = (
        "import matplotlib.pyplot as plt\n"
        "rows = [line.split(',') for line in open('/task/input/table.csv')]\n"
        "plt.plot([float(y) for _, y in rows]); plt.show()\n"
        "open('/task/output/sum.txt', 'w').write('6.0')\n"
        "print(len(rows))\n"
        "sum(float(y) for _, y in rows)\n"
    )
    inline = [{"name": "table.csv", "content": "a,1\nb,2\nc,3\n"}]
    answer, charged, content = await called(client, code=code, input_files=inline)
    assert (answer["status"], answer["stdout"], answer["value"]) == ("ok", "3\n", "6.0")
    assert answer["level"] == "namespaces"
    text, picture = content
    assert text.text == "3\n6.0"
    assert (picture.type, picture.mime_type) == ("image", "image/png")
    png = base64.b64decode(picture.data)
    assert png.startswith(b"\x89PNG")
    files = {one["name"]: base64.b64decode(one["content_base64"]) for one in answer["files"]}
    (plot,) = answer["plots"]
    assert files == {"sum.txt": b"6.0", plot: png}
    assert charged == PRICE
    await assert_balanced(services.database)


async def test_what_is_printed_arrives_while_the_code_runs(client: Client) -> None:
    told: list[str] = []

    async def progress(_done: float, _total: float | None, message: str | None) -> None:
        told.append(message or "")

    code = "for i in range(3):\n    print('step', i, flush=True)"
    result = await client.call_tool(TOOL, {"code": code}, progress_callback=progress)
    assert result.structured_content["stdout"] == "step 0\nstep 1\nstep 2\n"
    assert "".join(told) == "step 0\nstep 1\nstep 2\n"
    told.clear()
    # What is heard of code that does not end was told while it ran.
    endless = code + "\nimport time\ntime.sleep(600)"
    running = asyncio.create_task(
        client.call_tool(TOOL, {"code": endless}, progress_callback=progress)
    )
    async with asyncio.timeout(30):
        while "".join(told) != "step 0\nstep 1\nstep 2\n":
            await asyncio.sleep(0.01)
    assert not running.done()
    running.cancel()
    await asyncio.wait({running})


async def test_a_session_goes_on_and_its_end_is_told(client: Client) -> None:
    first, _, _ = await called(client, code="x = 20", session_id="mine")
    second, _, _ = await called(client, code="x + 1", session_id="mine")
    assert (first["session_runs"], second["session_runs"], second["value"]) == (1, 2, "21")
    await called(client, code="import os; os._exit(0)", session_id="mine")
    over = await client.call_tool(TOOL, {"code": "x", "session_id": "mine"})
    assert over.is_error
    assert over.structured_content["code"] == "sandbox_session_ended"


async def test_the_codes_own_fault_is_charged_and_the_sandboxs_is_not(
    client: Client, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, charged, content = await called(client, code="1 / 0")
    assert (answer["status"], charged) == ("error", PRICE)
    assert "ZeroDivisionError" in content[0].text

    async def broken(_spec: TaskSpec) -> TaskResult:
        return TaskResult("infra_error", stderr="no space left")

    monkeypatch.setattr(services.sandbox, "run", broken)
    failed = await client.call_tool(TOOL, {"code": "1"})
    assert failed.is_error
    assert failed.structured_content["code"] == "sandbox_failed"
    assert await _spent(services) == PRICE
    await assert_balanced(services.database)


async def test_every_run_is_written_down_with_its_level(client: Client, services: Services) -> None:
    await called(client, code="1")
    (row,) = await _usage(services)
    assert (row["executor"], row["level"]) == ("bubblewrap", "namespaces")


async def test_the_list_and_health_say_what_isolates_code(
    client: Client, services: Services
) -> None:
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert "Isolation here: namespaces (bubblewrap)." in str(tools[TOOL].description)
    transport = httpx2.ASGITransport(app=create_app(services))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as http:
        health = (await http.get("/healthz")).json()
    assert health["sandbox"] == {"is_up": True, "executor": "bubblewrap", "level": "namespaces"}


async def _usage(services: Services) -> list[dict[str, Any]]:
    async with services.database.begin(SERVICE) as uow:
        rows = await uow.fetch("select quantities from app.usage_event where subject = $1", TOOL)
    return [dict(row[0]) for row in rows]


async def _spent(services: Services) -> int:
    async with services.database.begin(SERVICE) as uow:
        rows = await uow.fetch("select sum(captured_micro) from app.wallet")
    return int(rows[0][0])
