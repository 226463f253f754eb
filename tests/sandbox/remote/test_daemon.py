"""What sandboxd lets nobody do, and what becomes of tasks when either side goes away."""

import asyncio
import contextlib
import json
import signal
import socket
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, cast

import pytest

from app.kernel.errors import AppError, Code
from app.sandbox import (
    InputFile,
    IsolationError,
    Limits,
    OutputFile,
    Sandbox,
    TaskResult,
    TaskSpec,
    Usage,
)
from app.sandbox.daemon.asks import Task
from app.sandbox.executors.remote import RemoteExecutor
from app.sandbox.types import EgressCall, Ended, Printed, Shown
from app.sandbox.wire import (
    HELLO,
    REFUSED,
    TASK,
    VERSION,
    parse_address,
    receive,
    receive_event,
    send,
    send_event,
    send_json,
    task_json,
    token_of,
)
from tests.sandbox.remote.conftest import Daemon, Start
from tests.sandbox.test_faults import is_running, sleeper, until

pytestmark = pytest.mark.anyio

SMALL = Limits(wall_s=20, cpu_s=10, memory_bytes=2**30, processes=32, tmp_bytes=32 * 2**20)


async def talk(address: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.path:
        return await asyncio.open_unix_connection(address.path)
    return await asyncio.open_connection(address.host, address.port)


def hello(operation: str = "run", **more: Any) -> dict[str, Any]:
    return {"version": VERSION, "token": "a secret", "operation": operation, **more}


async def refused(daemon: Daemon, *frames: tuple[bytes, Any]) -> dict[str, Any] | None:
    """What the daemon answers to these frames if it refuses; None if it only hangs up."""
    reader, writer = await talk(daemon.address)
    for kind, value in frames:
        await send(writer, kind, value if isinstance(value, bytes) else json.dumps(value).encode())
    try:
        kind, payload = await receive(reader)
    except EOFError:
        return None
    finally:
        writer.close()
    assert kind == REFUSED
    found: dict[str, Any] = json.loads(payload)
    return found


def a_task(**changed: Any) -> dict[str, Any]:
    return {**task_json(TaskSpec("t", "pass", limits=SMALL), []), **changed}


@pytest.mark.parametrize("token", ["", None, "another", "a secret\0", "ü"])
async def test_nobody_is_served_without_the_token(shared: Daemon, token: str | None) -> None:
    for operation in ("run", "capabilities", "cancel"):
        answer = await refused(shared, (HELLO, hello(operation, token=token)))
        assert answer is not None
        assert answer["code"] == Code.UNAUTHENTICATED
    with pytest.raises(IsolationError, match="does not know this client"):
        await RemoteExecutor(shared.address, lambda: token).capabilities()


@pytest.mark.parametrize("name", ["image", "mounts", "runtime", "privileged", "env", "network"])
async def test_nothing_but_the_task_can_be_asked_for(shared: Daemon, name: str) -> None:
    frames = ((HELLO, hello()), (TASK, a_task(**{name: "x"})))
    answer = await refused(shared, *frames)
    assert answer is not None
    assert answer["code"] == Code.INVALID_INPUT
    assert name in answer["message"]


@pytest.mark.parametrize("operation", ["exec", "build", "", "RUN", None])
async def test_there_are_four_operations(shared: Daemon, operation: Any) -> None:
    answer = await refused(shared, (HELLO, hello(operation)))
    assert answer is not None
    assert answer["code"] == Code.INVALID_INPUT


@pytest.mark.parametrize(
    "changed",
    [
        {"limits": {**asdict(SMALL), "wall_s": -1}},
        {"limits": {**asdict(SMALL), "wall_s": float("inf")}},
        {"limits": {**asdict(SMALL), "memory_bytes": 0}},
        {"limits": {"wall_s": 1}},
        {"files": [["../../etc/cron.d/x", 0]]},
        {"files": [["a", -1]]},
        {"files": [["a", 2**40]]},
        {"files": [["a", 0], ["a", 0]]},
        {"code": 5},
        {"code": "x" * (2**20 + 1)},
        {"requirements": ["git+https://example.org/x"]},
    ],
)
async def test_a_bad_task_is_refused(shared: Daemon, changed: dict[str, Any]) -> None:
    answer = await refused(shared, (HELLO, hello()), (TASK, a_task(**changed)))
    assert answer is not None
    assert answer["code"] == Code.INVALID_INPUT
    assert answer["message"]


@pytest.mark.parametrize(
    "frames",
    [
        ((TASK, a_task()),),
        ((HELLO, b"no json"),),
        ((HELLO, hello()), (HELLO, hello())),
        ((HELLO, hello()), (TASK, b"{")),
        ((HELLO, b"x" * 2**17),),
        ((HELLO, hello()), (TASK, a_task(files=[["a", 4]])), (b"f", b"12345")),
        ((HELLO, hello()), (TASK, a_task(files=[["a", 4]])), (b"f", b"")),
    ],
)
async def test_what_is_not_of_the_wire_is_hung_up_on(shared: Daemon, frames: Any) -> None:
    with contextlib.suppress(ConnectionResetError):  # it hung up while there was more to read
        assert await refused(shared, *frames) is None
    assert (await shared_run(shared, "print(1)")).stdout == "1\n"


async def shared_run(daemon: Daemon, code: str) -> TaskResult:
    executor = RemoteExecutor(daemon.address, lambda: "a secret")
    return await executor.run(TaskSpec("t", code, limits=SMALL))


async def test_limits_are_the_daemons_at_most(start: Start) -> None:
    with start(UAOL_SANDBOX_WALL_SECONDS="0.5") as daemon:
        spec = TaskSpec("t", "while True: pass", limits=Limits(wall_s=1000))
        assert (await daemon.executor().run(spec)).status == "timeout"


async def test_many_at_once_are_kept_apart(shared: Daemon, tmp_path: Path) -> None:
    async def one(number: int) -> bytes:
        source = tmp_path / str(number)
        source.write_bytes(b"%d" % number * 100_000)
        code = "import shutil; shutil.copy('/task/input/data', '/task/output/data')"
        spec = TaskSpec(f"t{number}", code, input_files=(InputFile("data", source),), limits=SMALL)
        result = await RemoteExecutor(shared.address, lambda: "a secret").run(spec)
        return result.files[0].content

    found = await asyncio.gather(*map(one, range(12)))
    assert found == [b"%d" % number * 100_000 for number in range(12)]


async def test_a_stream_tells_what_happens_while_it_happens(sandbox: Sandbox) -> None:
    code = (
        "import sys, time\n"
        "print('one', flush=True)\n"
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('two', file=sys.stderr)\n"
        "open('/task/output/a.txt', 'w').write('x')\n"
    )
    events = [event async for event in sandbox.stream(TaskSpec("s", code, limits=SMALL))]
    assert "".join(e.text for e in events if isinstance(e, Printed) and e.stream == "stdout") == (
        "one\n"
    )
    last = events[-1]
    assert isinstance(last, Ended)
    assert (last.result.status, last.result.stderr) == ("ok", "two\n")
    assert [file.name for file in last.result.files] == ["a.txt"]


async def test_a_stream_that_is_left_kills_its_task(sandbox: Sandbox) -> None:
    mark, code = sleeper()
    events = sandbox.stream(TaskSpec("left", f"print('on', flush=True)\n{code}", limits=SMALL))
    async for event in events:
        assert isinstance(event, Printed)
        break
    await until(lambda: is_running(mark))
    await events.aclose()
    await until(lambda: not is_running(mark))


async def test_an_abandoned_run_is_killed(sandbox: Sandbox) -> None:
    mark, code = sleeper()
    running = asyncio.ensure_future(sandbox.run(TaskSpec("abandoned", code, limits=SMALL)))
    await until(lambda: is_running(mark))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: not is_running(mark))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
async def test_a_daemon_that_ends_takes_its_sandboxes_along(start: Start, number: int) -> None:
    mark, code = sleeper()
    with start() as daemon:
        executor = daemon.executor()
        running = asyncio.ensure_future(executor.run(TaskSpec("t", code, limits=SMALL)))
        await until(lambda: is_running(mark))
        ended = await asyncio.to_thread(daemon.end, number)
        result = await running
        assert (result.status, ended) == ("infra_error", 0 if number != signal.SIGKILL else -9)
        assert "went away" in result.stderr
        await until(lambda: not is_running(mark))


async def test_a_daemon_that_is_away_is_said_to_be_and_found_again(start: Start) -> None:
    with start() as first:
        executor = first.executor()
        await executor.capabilities()
    with pytest.raises(IsolationError, match="does not answer") as caught:
        await executor.run(TaskSpec("t", "print(1)", limits=SMALL))
    assert "uaol sandboxd" in caught.value.hint
    await executor.cancel("t")
    with start():
        assert (await executor.run(TaskSpec("t", "print(2)", limits=SMALL))).stdout == "2\n"


async def test_a_daemon_that_starts_beside_the_server_is_waited_for(
    start: Start, tmp_path: Path
) -> None:
    executor = RemoteExecutor(parse_address(f"unix:{tmp_path}/d.sock"))
    executor._patience_s *= 4  # on a machine that does much else
    asking = asyncio.create_task(executor.capabilities())
    await asyncio.sleep(0)
    with contextlib.ExitStack() as stack:
        await asyncio.to_thread(stack.enter_context, start())
        assert (await asking).executor == "bubblewrap"


async def test_a_daemon_that_comes_after_the_server_is_found(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.sandbox.executors.remote.executor._FIRST_CONNECT_S", 0.0)
    monkeypatch.setattr("app.sandbox.service._PAUSES_S", (0.5,))
    sandbox = Sandbox([RemoteExecutor(parse_address(f"unix:{tmp_path}/d.sock"))])
    status = await sandbox.start()
    assert (status.available, "uaol sandboxd" in status.hint) == (False, True)
    with pytest.raises(AppError) as caught:
        await sandbox.run(TaskSpec("t", "1 + 1", limits=SMALL))
    assert (caught.value.code, caught.value.hint) == (Code.SANDBOX_UNAVAILABLE, status.hint)
    with contextlib.ExitStack() as stack:
        await asyncio.to_thread(stack.enter_context, start())
        await until(lambda: sandbox.status().available)
        assert sandbox.status().level == "namespaces"
        assert (await sandbox.run(TaskSpec("t", "1 + 1", limits=SMALL))).value == "2"
        await sandbox.close()


async def test_a_socket_that_was_left_behind_is_taken_over(start: Start) -> None:
    with start() as first:
        first.end(signal.SIGKILL)
        assert Path(first.address.path or "").is_socket()
    with start() as second:
        assert (await second.executor().capabilities()).executor == "bubblewrap"
        with pytest.raises(RuntimeError, match="another one listens"), start():
            pass
        assert Path(second.address.path or "").stat().st_mode & 0o777 == 0o660


async def test_the_command_serves_as_well(start: Start) -> None:
    with start(command=("-c", "from app.cli import run; run()", "sandboxd")) as daemon:
        result = await daemon.executor().run(TaskSpec("t", "1 + 1", limits=SMALL))
        assert (result.status, result.value) == ("ok", "2")
        assert await asyncio.to_thread(daemon.end) == 0


async def test_a_port_needs_a_token(start: Start) -> None:
    with (
        pytest.raises(RuntimeError, match="without a token"),
        start(UAOL_SANDBOX_DAEMON="tcp:127.0.0.1:0"),
    ):
        pass


async def test_input_that_is_cut_short_runs_nothing(start: Start, tmp_path: Path) -> None:
    with start(TMPDIR=str(tmp_path)) as daemon:
        reader, writer = await talk(daemon.address)
        await send_json(writer, HELLO, hello(token=None))
        await send_json(writer, TASK, a_task(files=[["data", 100]]))
        await send(writer, b"f", b"x" * 50)
        writer.close()
        assert await reader.read() == b""
        await until(lambda: not list(tmp_path.glob("uaol-sandboxd-*")))


async def test_a_file_that_shrinks_is_an_infra_error(sandbox: Sandbox, tmp_path: Path) -> None:
    class Shrinking:
        def open(self, *_: Any, **__: Any) -> Any:
            file = Path(tmp_path, "data").open("rb", buffering=0)  # noqa: SIM115
            file.seek(90)
            return file

    (tmp_path / "data").write_bytes(b"x" * 100)
    spec = TaskSpec(
        "t", "pass", input_files=(InputFile("data", cast("Path", Shrinking())),), limits=SMALL
    )
    result = await sandbox.run(spec)
    assert (result.status, "shrank" in result.stderr) == ("infra_error", True)


async def test_every_event_survives_the_wire() -> None:
    picture = OutputFile("a.png", "0" * 64, 200_000, b"p" * 200_000)
    result = TaskResult(
        "error", 1, "out\0ü\U0001f9ec", "err", True, True, (picture,), ("b: why",),
        Usage(1.5, 2.5, 3, 4, 5), "docker", "42", ("a.png",), "gvisor", True,
        (EgressCall("example.org", 443, 1, 2, 3, "allowed"),), 7,
    )  # fmt: skip
    events = [Printed("stderr", "line\n"), Shown(picture), Ended(result)]
    blank = TaskResult("ok")
    assert all(getattr(result, f.name) != getattr(blank, f.name) for f in fields(TaskResult))
    ours, theirs = socket.socketpair()
    reader, unused = await asyncio.open_connection(sock=ours)
    _, writer = await asyncio.open_connection(sock=theirs)

    async def tell() -> None:
        for event in events:
            await send_event(writer, event)

    telling = asyncio.create_task(tell())
    assert [await receive_event(reader) for _ in events] == events
    await telling
    for end in (writer, unused):
        end.close()
        await end.wait_closed()


def test_a_task_has_all_its_fields_on_the_wire() -> None:
    assert set(Task.model_fields) == set(a_task())


@pytest.mark.parametrize("text", ["", "unix:relative", "tcp:host", "tcp::1", "http://x", "tcp:h:x"])
def test_an_address_that_is_none_is_a_bad_setting(text: str) -> None:
    with pytest.raises(AppError) as caught:
        parse_address(text)
    assert caught.value.code is Code.CONFIG_INVALID


@pytest.mark.parametrize("text", ["unix:/run/d.sock", "tcp:127.0.0.1:80"])
def test_an_address_says_itself(text: str) -> None:
    assert str(parse_address(text)) == text


def test_an_empty_token_lets_nobody_in(tmp_path: Path) -> None:
    for content in (None, b"", b" \n", b"\xff"):
        if content is not None:
            (tmp_path / "token").write_bytes(content)
        with pytest.raises(AppError):
            token_of(tmp_path / "token")()
