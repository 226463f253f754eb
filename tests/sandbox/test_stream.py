"""A task as it happens: in order, to its end, and killed when nobody listens any more."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from app.sandbox import Ended, Event, Limits, Printed, Sandbox, Shown, TaskSpec
from tests.sandbox.conftest import SMALL
from tests.sandbox.test_faults import is_running, sleeper, until

pytestmark = pytest.mark.anyio


def spec(code: str, task_id: str = "streamed") -> TaskSpec:
    return TaskSpec(task_id, code, limits=SMALL)


@contextlib.asynccontextmanager
async def streaming(sandbox: Sandbox, task: TaskSpec) -> AsyncIterator[AsyncIterator[Event]]:
    async with contextlib.aclosing(sandbox.stream(task)) as events:
        yield events


async def test_text_comes_in_order_and_is_the_result(sandbox: Sandbox) -> None:
    code = (
        "import sys\n"
        "for i in range(200):\n"
        "    print(i, flush=True)\n"
        "    print(-i, file=sys.stderr, flush=True)\n"
    )
    async with streaming(sandbox, spec(code)) as stream:
        events = [event async for event in stream]
    *heard, last = events
    assert isinstance(last, Ended)
    assert not any(isinstance(event, Ended) for event in heard)
    for name in ("stdout", "stderr"):
        text = "".join(e.text for e in heard if isinstance(e, Printed) and e.stream == name)
        assert text == getattr(last.result, name)
    assert last.result.stdout.split() == [str(i) for i in range(200)]
    assert last.result.status == "ok"


async def test_text_comes_while_the_code_runs(sandbox: Sandbox) -> None:
    code = "print('first', flush=True)\nimport signal\nwhile True: signal.pause()"
    async with streaming(sandbox, spec(code, "waiting")) as stream:
        event = await anext(stream)
        assert event == Printed("stdout", "first\n")
        await sandbox.cancel("waiting")
        rest = [each async for each in stream]
    (ended,) = rest
    assert isinstance(ended, Ended)
    assert ended.result.status == "killed"
    assert ended.result.stdout == "first\n"


async def test_characters_are_never_torn(sandbox: Sandbox) -> None:
    code = (
        "import os, time\n"
        "for byte in 'aé€😀'.encode():\n"
        "    os.write(1, bytes([byte])); time.sleep(0.01)\n"
    )
    async with streaming(sandbox, spec(code)) as stream:
        texts = [event.text async for event in stream if isinstance(event, Printed)]
    assert "".join(texts) == "aé€😀"


async def test_a_picture_comes_before_the_end(sandbox: Sandbox) -> None:
    code = "import matplotlib.pyplot as plt\nplt.plot([1, 2, 3])\nplt.show()\nprint('after')\n"
    async with streaming(sandbox, spec(code)) as stream:
        events = [event async for event in stream]
    shown = [event.file for event in events if isinstance(event, Shown)]
    last = events[-1]
    assert isinstance(last, Ended)
    assert last.result.plots == tuple(file.name for file in shown)
    (picture,) = shown
    assert picture.content.startswith(b"\x89PNG")
    assert picture.name in [file.name for file in last.result.files]


async def test_who_stops_listening_kills_the_task(sandbox: Sandbox) -> None:
    mark, code = sleeper()
    async with streaming(sandbox, spec(f"print('x', flush=True)\n{code}")) as stream:
        await anext(stream)
        await until(lambda: is_running(mark))
    await until(lambda: not is_running(mark))


async def test_an_abandoned_listener_kills_the_task(sandbox: Sandbox) -> None:
    mark, code = sleeper()

    async def listen() -> None:
        async with streaming(sandbox, spec(code)) as stream:
            async for _ in stream:
                pass

    listening = asyncio.create_task(listen())
    await until(lambda: is_running(mark))
    listening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listening
    await until(lambda: not is_running(mark))


async def test_output_beyond_the_limit_is_cut_there_too(sandbox: Sandbox) -> None:
    task = TaskSpec("loud", "while True: print('x' * 99)", limits=_loud())
    async with streaming(sandbox, task) as stream:
        events = [event async for event in stream]
    last = events[-1]
    assert isinstance(last, Ended)
    assert last.result.status == "output_limit"
    text = "".join(event.text for event in events if isinstance(event, Printed))
    assert text == last.result.stdout
    assert len(text) == 10_000


def _loud() -> Limits:
    return replace(SMALL, stdout_bytes=10_000)
