"""A server whose URL leads back to this gateway: refused at the first round, whatever its name."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from app.kernel.errors import AppError, Code
from app.kernel.loops import check, own_name, via
from tests.books import assert_balanced
from tests.proxy.wire.played import Seen, playing, respond
from tests.surfaces.conftest import app, url
from tests.surfaces.registry.conftest import Door, Place, door, register, settings, world

__all__ = ["app", "door", "settings", "url", "world"]

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def passing_on(port: int) -> AsyncIterator[str]:
    """A server elsewhere that passes every request on to this port as it is."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, outer), pump(inner, writer), return_exceptions=True)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def test_it_is_not_even_submitted(door: Door, world: Place, url: str) -> None:
    """By its address, by another name of the host, by way of another server, by a redirect."""
    port = int(url.rpartition(":")[2])

    async def redirecting(_request: Seen, writer: asyncio.StreamWriter) -> None:
        respond(writer, b"", status="307 Temporary Redirect", extra=f"Location: {url}/mcp\r\n")

    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(passing_on(port))
        two = await stack.enter_async_context(passing_on(int(one.rpartition(":")[2])))
        moved = await stack.enter_async_context(playing(redirecting))
        for number, address in enumerate(
            [
                f"{url}/mcp",
                f"http://localhost:{port}/mcp",
                f"{url}/mcp/servers/lab",
                f"{one}/mcp",
                f"{two}/mcp",
                moved.url,
            ]
        ):
            slug = f"lab{number}"
            await register(door, world.alice, address, slug)
            path = f"/v1/registry/servers/{slug}"
            problem = await door.post(world.alice, f"{path}/submit", {}, 502)
            said = problem["detail"]
            assert problem["code"] == "tool_server_down", (address, problem)
            assert "leads back" in said or "redirect" in said, (address, said)
            assert (await door.get(world.alice, path))["status"] == "Draft"
    await assert_balanced(world.services.database)


def test_others_may_pass_on_but_not_for_ever() -> None:
    check("1.1 vegur, 1.1 uaol-0000000000000000")
    assert via() == f"1.1 uaol-0000000000000000, 1.1 {own_name()}"
    for chain in (f"1.1 {own_name()}", f"1.0 a, HTTP/2 {own_name()} (comment)", "1.1 uaol-1," * 9):
        with pytest.raises(AppError) as caught:
            check(chain)
        assert caught.value.code is Code.LOOP_DETECTED
