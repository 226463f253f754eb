import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from app.kernel.errors import Code
from app.proxy.backends import process, supervised
from app.proxy.backends.base import Link
from app.proxy.backends.pipes import LineTooLongError, read_lines
from app.proxy.backends.stdio import StdioConnector
from app.proxy.backends.supervised import SupervisedBackend
from app.registry import ServerConfig, ToolOverride
from tests.proxy.harness import World, python_server, running, until

pytestmark = pytest.mark.anyio

ODD = python_server("odd.py")


@pytest.fixture(scope="module")
async def odd() -> AsyncIterator[World]:
    """One server for all tests; those that end it wait until it is back."""
    async with running(replace(ODD, timeout_s=60.0)) as world:
        yield world


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls wait for a start as long as it takes where others work, too."""
    monkeypatch.setattr(supervised, "RESTART_WAIT_S", 60.0)


@pytest.fixture
def unhurried(odd: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server may take its time to show that it does not hang."""
    monkeypatch.setattr(odd.proxy._backends["odd"], "_probe_s", 60.0)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter if it goes as it is read
        return False


async def works(odd: World) -> bool:
    return (await odd.call("odd.echo", text="x")).structured == {"text": "x"}


async def test_a_call_goes_through_a_warm_server_and_is_measured(odd: World) -> None:
    before = odd.health("odd").restarts
    assert await works(odd)
    result = await odd.call("odd.echo", text="b")
    assert (result.structured, result.is_error, result.error) == ({"text": "b"}, False, None)
    assert (result.usage.tool, result.usage.bytes_in) == ("odd.echo", len('{"text":"b"}'))
    assert result.usage.bytes_out > 0
    assert len(result.usage.version_sha) == 64
    assert odd.health("odd").restarts == before


async def test_a_listing_of_many_pages_is_read_to_its_end(odd: World) -> None:
    assert odd.health("odd").tools == 17


async def test_only_named_tools_are_exposed_with_the_description_given() -> None:
    tools = (ToolOverride("echo", description="Says it back."), ToolOverride("none"))
    async with running(python_server("odd.py", tools=tools)) as world:
        (listing,) = await world.proxy.listings()
        assert [item.description for item in listing.definitions] == ["Says it back."]
        assert (await world.refused("odd.wait")).code is Code.TOOL_UNKNOWN


async def test_a_server_gets_path_home_lang_and_what_is_declared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")
    greeting = {"API_KEY": "k", "GREETING": "Welcome!\n\nVersion 1\n"}
    async with running(python_server("odd.py", env=greeting)) as world:
        seen = (await world.call("odd.environment")).structured
        assert seen is not None
        assert seen["API_KEY"] == "k"
        # The interpreter itself sets LC_CTYPE where there is no LANG. That the call worked at
        # all shows that lines before the first message are forgiven.
        assert set(seen) <= {"PATH", "HOME", "LANG", "LC_CTYPE", *greeting}


async def test_a_server_that_dies_fails_its_call_and_is_started_again(odd: World) -> None:
    async with odd.restart("odd"):
        error = await odd.refused("odd.die")
        assert (error.code, error.is_retryable) == (Code.TOOL_SERVER_DOWN, True)
        # The next call waits for the server rather than fail.
        assert await works(odd)


async def test_an_exit_is_seen_though_a_child_holds_the_pipes_and_the_child_is_ended(
    odd: World, tmp_path: Path
) -> None:
    async with odd.restart("odd"):
        error = await odd.refused("odd.linger", note=str(tmp_path / "child"))
        assert error.code is Code.TOOL_SERVER_DOWN
    child = int((tmp_path / "child").read_text())
    await until(lambda: not is_alive(child))


async def test_a_hanging_server_is_ended_and_started_again(odd: World) -> None:
    async with odd.restart("odd"):
        assert (await odd.refused("odd.hang", timeout_s=0.3)).code is Code.TOOL_TIMEOUT
    assert await works(odd)


async def test_a_slow_tool_times_out_and_leaves_its_server_to_others(
    odd: World, unhurried: None
) -> None:
    before = odd.health("odd").restarts
    other = asyncio.create_task(odd.call("odd.wait"))
    assert (await odd.refused("odd.wait", timeout_s=0.2)).code is Code.TOOL_TIMEOUT
    assert await works(odd)
    other.cancel()
    with pytest.raises(asyncio.CancelledError):
        await other
    assert await works(odd)
    assert odd.health("odd").restarts == before


class _Answering:
    """A client whose requests after the first so many are answered."""

    def __init__(self, unanswered: int) -> None:
        self.unanswered = unanswered

    async def list_tools(self, **_: object) -> None:
        self.unanswered -= 1
        if self.unanswered >= 0:
            await asyncio.Event().wait()


@pytest.mark.parametrize(("unanswered", "is_ended"), [(0, False), (1, False), (2, True)])
async def test_one_look_that_came_too_late_ends_no_server(
    unanswered: int, *, is_ended: bool
) -> None:
    """It does so where the gateway itself stands still for longer than it looks."""
    backend = SupervisedBackend(StdioConnector(ODD, output_limit=1000), probe_s=0.02)
    session = supervised._Session(Link("odd"), cast(Any, _Answering(unanswered)), {})
    await backend._probe(session)
    assert session.link.ended.is_set() is is_ended


async def test_a_server_that_times_out_again_and_again_is_ended(
    odd: World, unhurried: None
) -> None:
    async with odd.restart("odd"):
        for _ in range(3):
            assert (await odd.refused("odd.wait", timeout_s=0.05)).code is Code.TOOL_TIMEOUT


@pytest.mark.parametrize("tool", ["flood", "chatter"])
async def test_a_flood_is_cut_off(odd: World, tool: str) -> None:
    async with odd.restart("odd"):
        assert (await odd.refused(f"odd.{tool}")).code is Code.TOOL_OUTPUT_TOO_LARGE
    assert await works(odd)


async def test_nonsense_is_a_protocol_error_for_every_call_in_flight(odd: World) -> None:
    async with odd.restart("odd"):
        other = asyncio.create_task(odd.refused("odd.wait"))
        assert await works(odd)
        assert (await odd.refused("odd.babble")).code is Code.TOOL_PROTOCOL_ERROR
        assert (await other).code is Code.TOOL_PROTOCOL_ERROR


@pytest.mark.parametrize("tool", ["lie", "mute"])
async def test_an_answer_that_breaks_its_schema_is_a_protocol_error(odd: World, tool: str) -> None:
    before = odd.health("odd").restarts
    error = await odd.refused(f"odd.{tool}")
    assert error.code is Code.TOOL_PROTOCOL_ERROR
    assert "output schema" in error.message
    assert odd.health("odd").restarts == before


async def test_a_text_that_is_a_json_object_is_the_structured_answer(odd: World) -> None:
    result = await odd.call("odd.text_json")
    assert result.structured == {"a": 1}
    assert result.content == [{"type": "text", "text": '{"a": 1}'}]


async def test_a_tools_own_refusal_keeps_its_code(odd: World) -> None:
    result = await odd.call("odd.refuse")
    assert result.is_error
    assert result.error is not None
    assert (result.error.code, result.error.hint) == (Code.GENE_NOT_FOUND, "Use HBB.")


async def test_a_tool_cannot_speak_for_the_platform(odd: World) -> None:
    error = (await odd.call("odd.overstep")).error
    assert error is not None
    assert error.code is Code.TOOL_FAILED
    assert error.details == {"reported_code": "insufficient_credits"}


async def test_an_exception_in_a_tool_is_its_failure(odd: World) -> None:
    result = await odd.call("odd.fail")
    assert result.is_error
    assert result.error is not None
    assert result.error.code is Code.TOOL_FAILED


async def test_servers_that_cannot_start_do_not_stop_the_others() -> None:
    missing = ServerConfig(name="missing", command=("/nonexistent/server",))
    silent = ServerConfig(name="silent", command=("python", "-c", "pass"))
    async with running(missing, silent, ODD) as world:
        assert await works(world)
        for name in ("missing", "silent"):
            health = world.health(name)
            assert (health.is_up, health.tools) == (False, 0)
            assert health.error
        assert "/nonexistent/server" in (world.health("missing").error or "")


async def test_close_ends_the_process_and_the_calls_that_wait_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # However long a busy machine takes to end the process, closing does not give up on it.
    monkeypatch.setattr(process, "_TERM_S", 60.0)
    monkeypatch.setattr(supervised, "_CLOSE_S", 60.0)
    async with running(ODD) as world:
        waiting = asyncio.create_task(world.refused("odd.wait"))
        answer = (await world.call("odd.pid")).structured
        assert answer is not None
        assert is_alive(answer["pid"])
    assert not is_alive(answer["pid"])
    assert (await waiting).code is Code.TOOL_SERVER_DOWN
    assert (await world.refused("odd.pid")).code is Code.TOOL_SERVER_DOWN


async def test_secrets_are_masked_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    code = "import os, sys; print('key=' + os.environ['KEY'], 'a', file=sys.stderr)"
    env = {"KEY": "hunter22", "SHORT": "a"}
    server = await process.ServerProcess.spawn("telling", ["python", "-c", code], env)
    with caplog.at_level("INFO"):
        await server.log_stderr(tuple(env.values()))
    await server.stop()
    assert caplog.messages == ["telling: key=*** a"]


@pytest.mark.parametrize("size", [1, 7, 100])
async def test_lines_are_cut_out_of_any_chunks(size: int) -> None:
    stream = asyncio.StreamReader()
    text = b"one\n\ntwo\nthree"
    for start in range(0, len(text), size):
        stream.feed_data(text[start : start + size])
    stream.feed_eof()
    assert [line async for line in read_lines(stream, 10)] == [b"one", b"", b"two"]


@pytest.mark.parametrize("text", [b"x" * 11, b"ok\n" + b"x" * 11 + b"\n"])
async def test_a_line_past_the_cap_is_refused(text: bytes) -> None:
    stream = asyncio.StreamReader()
    stream.feed_data(text)
    stream.feed_eof()
    with pytest.raises(LineTooLongError):
        [line async for line in read_lines(stream, 10)]
