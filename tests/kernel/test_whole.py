"""Work that a stop does not cut short, and what its caller is told."""

import asyncio
import threading

import pytest

from app.kernel.whole import whole

pytestmark = pytest.mark.anyio


async def test_a_stop_comes_after_the_work() -> None:
    begun, go_on, written = asyncio.Event(), threading.Event(), list[str]()
    loop = asyncio.get_running_loop()

    def write() -> None:
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(60)
        written.append("all")

    task = asyncio.create_task(whole(asyncio.to_thread(write)))
    await begun.wait()
    task.cancel()
    await asyncio.wait([task], timeout=0)
    assert not task.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert written == ["all"]


async def test_work_that_fails_as_it_is_stopped_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def fail() -> None:
        begun.set()
        await go_on.wait()
        raise OSError("the disk is full")

    task = asyncio.create_task(whole(fail()))
    await begun.wait()
    task.cancel()
    await asyncio.wait([task], timeout=0)
    go_on.set()
    with caplog.at_level("INFO"), pytest.raises(asyncio.CancelledError):
        await task
    assert [record.reason for record in caplog.records if "stopped" in record.message] == [
        "the disk is full"
    ]


async def test_otherwise_it_is_the_work_itself() -> None:
    assert await whole(asyncio.sleep(0, "done")) == "done"
    with pytest.raises(ZeroDivisionError):
        await whole(asyncio.to_thread(lambda: 1 // 0))
