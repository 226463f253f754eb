import gzip
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from app.kernel.errors import AppError, Code
from app.proxy.backends.remote import check_url
from app.registry import ServerConfig
from tests.proxy.harness import OUTPUT_LIMIT, USER, World, running, until
from tests.proxy.servers.remote import Remote

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[True, False], ids=["json", "sse"])
async def remote(request: pytest.FixtureRequest) -> AsyncIterator[Remote]:
    server = Remote(json_response=request.param)
    async with server.serving():
        yield server


def config(remote: Remote, **keys: Any) -> ServerConfig:
    headers = {"Authorization": "Bearer declared"}
    return ServerConfig(name="far", url=remote.url, headers=headers, **keys)


@pytest.fixture
async def far(remote: Remote) -> AsyncIterator[World]:
    async with running(config(remote)) as world:
        yield world


async def test_a_remote_tool_is_called_with_the_declared_headers(
    remote: Remote, far: World
) -> None:
    for n in range(3):
        assert (await far.call("far.echo", n=n)).structured == {"n": n}
    assert {item["authorization"] for item in remote.requests} == {"Bearer declared"}
    assert far.health("far").is_up


async def test_all_servers_share_one_pool(remote: Remote, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[httpx2.AsyncHTTPTransport] = []
    original = httpx2.AsyncHTTPTransport.__init__

    def count(self: httpx2.AsyncHTTPTransport, *args: Any, **keys: Any) -> None:
        made.append(self)
        original(self, *args, **keys)

    monkeypatch.setattr(httpx2.AsyncHTTPTransport, "__init__", count)
    other = ServerConfig(name="other", url=remote.url)
    async with running(config(remote), other) as world:
        await world.call("far.echo")
        await world.call("other.echo")
    assert len(made) == 1


async def test_an_answer_past_the_cap_is_cut_off_and_others_go_on(far: World) -> None:
    assert (await far.refused("far.big")).code is Code.TOOL_OUTPUT_TOO_LARGE
    assert (await far.call("far.echo", a=1)).structured == {"a": 1}


async def test_a_remote_tool_that_takes_too_long_times_out(far: World) -> None:
    assert (await far.refused("far.wait", timeout_s=0.2)).code is Code.TOOL_TIMEOUT
    assert (await far.call("far.echo", a=1)).structured == {"a": 1}


async def test_files_of_this_machine_do_not_go_to_a_remote_server(
    far: World, tmp_path: Any
) -> None:
    file_id = far.add_file(USER, tmp_path / "secret")
    error = await far.refused("far.file", file=file_id)
    assert (error.code, error.details["pointer"]) == (Code.INVALID_INPUT, "/file")


@pytest.mark.parametrize(
    ("status", "headers", "code"),
    [
        (302, [(b"location", b"/elsewhere")], Code.TOOL_SERVER_DOWN),
        (307, [(b"location", b"/elsewhere")], Code.TOOL_SERVER_DOWN),
        (401, [], Code.TOOL_SERVER_DOWN),
        (503, [], Code.TOOL_SERVER_DOWN),
        (200, [(b"content-type", b"text/html")], Code.TOOL_PROTOCOL_ERROR),
        (200, [(b"content-type", b"application/json")], Code.TOOL_PROTOCOL_ERROR),
    ],
)
async def test_a_front_that_misbehaves(
    remote: Remote, far: World, status: int, headers: list[tuple[bytes, bytes]], code: Code
) -> None:
    remote.answer = (status, headers, b"<html>")
    assert (await far.refused("far.echo")).code is code
    assert not any(item["path"] == "/elsewhere" for item in remote.requests)
    remote.answer = None
    assert (await far.call("far.echo", a=1)).structured == {"a": 1}


async def test_what_is_packed_is_never_unpacked(remote: Remote) -> None:
    """A megabyte of it could become a gigabyte here, after the cap."""
    kind = (b"content-type", b"application/json")
    packed = gzip.compress(b" " * 10 * OUTPUT_LIMIT)
    remote.answer = (200, [kind, (b"content-encoding", b"gzip")], packed)
    async with running(config(remote)) as world:
        assert "compresses its answer" in (world.health("far").error or "")
        assert {item["accept-encoding"] for item in remote.requests} == {"identity"}


async def test_a_server_that_goes_away_is_found_again() -> None:
    server = Remote(json_response=True)
    with server.bind():
        async with running(config(server)) as world:
            assert (world.health("far").is_up, world.health("far").restarts) == (False, 0)
            async with server.serving():
                await until(lambda: world.health("far").is_up)
                assert (await world.call("far.echo", a=1)).structured == {"a": 1}
            assert (await world.refused("far.echo")).code is Code.TOOL_SERVER_DOWN


@pytest.mark.parametrize(
    ("url", "hosts", "is_allowed"),
    [
        ("https://example.com/mcp", (), True),
        ("http://127.0.0.1:80/mcp", (), True),
        ("http://[::1]:80/mcp", (), True),
        ("http://localhost/mcp", (), True),
        ("http://example.com/mcp", (), False),
        ("http://10.0.0.1/mcp", (), False),
        ("http://127.0.0.1.example.com/mcp", (), False),
        ("http://Lab.Local/mcp", ("lab.local",), True),
    ],
)
def test_plain_http_goes_only_where_it_may(
    url: str, hosts: tuple[str, ...], is_allowed: bool
) -> None:
    server = ServerConfig(name="far", url=url, hosts=hosts)
    if is_allowed:
        check_url(server, httpx2.URL(url))
    else:
        with pytest.raises(AppError, match="hosts"):
            check_url(server, httpx2.URL(url))
