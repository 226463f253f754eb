"""Several processes of one home: one of them builds a layer, and a dead one is no hindrance."""

import asyncio
import sys
from pathlib import Path

import pytest

from tests.sandbox.layers.conftest import Make
from tests.sandbox.layers.wheels import make_wheel

pytestmark = pytest.mark.anyio
BUILDER = Path(__file__).with_name("builder.py")


async def start(folder: Path, wheelhouse: Path, *how: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, str(BUILDER), str(folder), str(wheelhouse), "first", *how,
        stdout=asyncio.subprocess.PIPE, env={"PYTHONPATH": str(BUILDER.parents[3])},
    )  # fmt: skip


async def test_one_of_many_builds(tmp_path: Path, wheelhouse: Path) -> None:
    make_wheel(wheelhouse, "first")
    processes = [await start(tmp_path / "shelf", wheelhouse) for _ in range(3)]
    told = [(await process.communicate())[0].decode().split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len({layer_id for layer_id, _ in told}) == 1
    assert sorted(unpacked for _, unpacked in told) == ["0", "0", "1"]


async def test_a_builder_that_is_killed_leaves_the_way_free(
    tmp_path: Path, wheelhouse: Path, open_shop: Make
) -> None:
    make_wheel(wheelhouse, "first")
    shop = open_shop()
    process = await start(shop.folder, wheelhouse, "hang")
    assert process.stdout is not None
    assert await process.stdout.readline() == b"unpacking\n"
    waiting = asyncio.ensure_future(shop.room_for("first"))
    process.kill()
    await process.wait()
    prepared = await waiting
    assert (shop.left(), shop.shelved()) == ([], [prepared.id])
