"""Those who wait for a layer, those who leave, and builds that are cut off."""

import asyncio
import contextlib
import threading
from pathlib import Path

import pytest

from app.kernel.errors import AppError, Code
from app.sandbox import TaskResult, TaskSpec
from app.sandbox.layers import LayerLimits
from app.sandbox.layers.installing import Draft
from app.sandbox.layers.shelf import Shelf
from tests.sandbox.layers.conftest import Make
from tests.sandbox.layers.wheels import make_wheel

pytestmark = pytest.mark.anyio


async def test_one_who_leaves_does_not_end_it_for_others(open_shop: Make, wheelhouse: Path) -> None:
    make_wheel(wheelhouse, "first")
    shop = open_shop()
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def before(_spec: TaskSpec) -> None:
        begun.set()
        await go_on.wait()

    shop.before = before
    leaver = asyncio.ensure_future(shop.room_for("first"))
    stayer = asyncio.ensure_future(shop.room_for("first"))
    await begun.wait()
    leaver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    go_on.set()
    assert (await stayer).id
    assert sum(shop.unpacked.values()) == 1


async def test_closing_ends_a_build_and_leaves_nothing(open_shop: Make, wheelhouse: Path) -> None:
    make_wheel(wheelhouse, "first")
    shop = open_shop()
    begun = asyncio.Event()

    async def before(_spec: TaskSpec) -> None:
        begun.set()
        await asyncio.Event().wait()

    shop.before = before
    waiting = asyncio.ensure_future(shop.room_for("first"))
    await begun.wait()
    await shop.layers.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (shop.left(), shop.shelved()) == ([], [])
    assert (await open_shop().room_for("first")).id


async def test_a_build_that_ends_while_it_writes_leaves_nothing(
    open_shop: Make, wheelhouse: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(wheelhouse, "first")
    shop = open_shop()
    loop, begun, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    draft = Shelf.draft

    def slow(self: Shelf, layer_id: str) -> Draft:
        loop.call_soon_threadsafe(begun.set)
        assert go_on.wait(60)
        return draft(self, layer_id)

    monkeypatch.setattr(Shelf, "draft", slow)
    waiting = asyncio.ensure_future(shop.room_for("first"))
    await begun.wait()
    closing = asyncio.create_task(shop.layers.close())
    await asyncio.wait([waiting], timeout=0)
    go_on.set()
    await closing
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (shop.left(), shop.shelved()) == ([], [])


async def test_a_build_has_its_time(open_shop: Make, wheelhouse: Path) -> None:
    make_wheel(wheelhouse, "first")
    shop = open_shop(LayerLimits(build_s=0.2))

    async def before(_spec: TaskSpec) -> None:
        await asyncio.Event().wait()

    shop.before = before
    with pytest.raises(AppError) as caught:
        await shop.room_for("first")
    assert caught.value.code is Code.SANDBOX_FAILED
    assert shop.left() == []
    assert (await open_shop().room_for("first")).id


async def test_what_asks_the_sandbox_goes_on_without_who_asked(
    open_shop: Make, wheelhouse: Path
) -> None:
    make_wheel(wheelhouse, "first")
    shop = open_shop(LayerLimits(patience_s=0.2))
    asked, go_on = [], asyncio.Event()

    async def run(spec: TaskSpec) -> TaskResult:
        if not spec.input_files:
            asked.append(spec.task_id)
            await go_on.wait()
        return await shop.run(spec)

    shop.layers.build_with(run)
    for _ in range(2):
        with pytest.raises(AppError, match="still being prepared"):
            await asyncio.gather(shop.room_for("first"), shop.room_for("first>=1"))
    go_on.set()
    found = ""
    while not found:
        with contextlib.suppress(AppError):
            found = (await shop.room_for("first")).id
    assert len(asked) == 1


async def test_who_waited_long_enough_finds_it_later(open_shop: Make, wheelhouse: Path) -> None:
    make_wheel(wheelhouse, "first")
    shop = open_shop(LayerLimits(patience_s=0.2))
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def before(_spec: TaskSpec) -> None:
        begun.set()
        await go_on.wait()

    shop.before = before
    while not begun.is_set():
        with pytest.raises(AppError, match="still being prepared") as caught:
            await shop.room_for("first")
        assert caught.value.is_retryable
    go_on.set()
    found = ""
    while not found:
        with contextlib.suppress(AppError):
            found = (await shop.room_for("first")).id
    assert sum(shop.unpacked.values()) == 1
