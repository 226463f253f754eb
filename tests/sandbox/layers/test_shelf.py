"""What is kept of layers: the latest used, never one in use taken, never half a one lent."""

import gc
import json
import os
from pathlib import Path

import pytest

from app.sandbox.layers import LayerLimits
from tests.sandbox.layers.conftest import Make, Shop
from tests.sandbox.layers.wheels import make_wheel

pytestmark = pytest.mark.anyio
NAMES = ("one", "two", "three", "four")


@pytest.fixture(autouse=True)
def _wheels(wheelhouse: Path) -> None:
    for name in NAMES:
        make_wheel(wheelhouse, name, files={f"{name}.bin": bytes(50_000)})


def age(shop: Shop, layer_id: str, seconds: float) -> None:
    path = shop.folder / "locks" / layer_id
    moment = path.stat().st_mtime - seconds
    os.utime(path, (moment, moment))


async def build(shop: Shop, name: str, seconds_ago: float = 0) -> str:
    layer_id = (await shop.room_for(name)).id
    gc.collect()
    age(shop, layer_id, seconds_ago)
    return layer_id


async def test_the_longest_unused_goes(open_shop: Make) -> None:
    shop = open_shop(LayerLimits(kept=2))
    one = await build(shop, "one", 300)
    two = await build(shop, "two", 200)
    assert (await build(shop, "one", 100)) == one
    three = await build(shop, "three")
    assert shop.shelved() == sorted([one, three])
    assert await build(shop, "two") == two


async def test_a_use_is_a_use(open_shop: Make) -> None:
    shop = open_shop(LayerLimits(kept=2))
    one = await build(shop, "one", 300)
    await build(shop, "two", 200)
    assert (await shop.room_for("one")).id == one
    three = await build(shop, "three")
    assert shop.shelved() == sorted([one, three])


async def test_one_in_use_stays(open_shop: Make) -> None:
    here, there = open_shop(LayerLimits(kept=1)), open_shop(LayerLimits(kept=1))
    used = await there.room_for("one")
    age(here, used.id, 1000)
    two = await build(here, "two", 500)
    assert here.shelved() == sorted([used.id, two])
    assert (used.mounts[0].source / "one.bin").exists()
    mounts = used.mounts
    del used
    await build(here, "three", 100)
    assert mounts[0].source.exists()
    gone = mounts[0].source
    del mounts
    gc.collect()
    four = await build(here, "four")
    assert not gone.exists()
    assert here.shelved() == [four]


async def test_bytes_are_counted(open_shop: Make) -> None:
    shop = open_shop(LayerLimits(kept_bytes=130_000))
    await build(shop, "one", 300)
    two = await build(shop, "two", 200)
    three = await build(shop, "three", 100)
    assert shop.shelved() == sorted([two, three])


async def test_old_ones_go(open_shop: Make) -> None:
    shop = open_shop(LayerLimits(kept_s=1000))
    await build(shop, "one", 2000)
    two = await build(shop, "two")
    assert shop.shelved() == [two]
    assert [path.stem for path in (shop.folder / "records").iterdir()] == [two]


async def test_what_a_dead_builder_left_is_cleared(open_shop: Make) -> None:
    shop = open_shop()
    layer_id = await build(shop, "one")
    half = shop.folder / "layers" / f".{layer_id}.draft"
    half.mkdir()
    (half / "half.py").write_text("x")
    other = shop.folder / "layers" / ".0123.draft"
    other.mkdir()
    for name in (layer_id, "0123", "4567"):
        (shop.folder / "fetched" / name).mkdir()
        (shop.folder / "fetched" / name / "package.whl").write_bytes(b"half")
    await build(shop, "two")
    assert shop.left() == []


@pytest.mark.parametrize("damage", ["file gone", "file cut", "record gone", "record broken"])
async def test_a_layer_that_is_not_whole_is_made_anew(open_shop: Make, damage: str) -> None:
    shop = open_shop()
    layer_id = await build(shop, "one")
    place = shop.folder / "layers" / layer_id
    record = shop.folder / "records" / f"{layer_id}.json"
    match damage:
        case "file gone":
            place.chmod(0o755)
            (place / "one.bin").unlink()
        case "file cut":
            (place / "one.bin").chmod(0o644)
            os.truncate(place / "one.bin", 10)
        case "record gone":
            record.unlink()
        case _:
            record.write_text("{")
    later = open_shop()
    prepared = await later.room_for("one")
    assert prepared.id == layer_id
    assert (prepared.mounts[0].source / "one.bin").stat().st_size == 50_000
    assert json.loads(record.read_text())["bytes"] > 50_000
    assert sum(later.unpacked.values()) == 1


async def test_a_memory_that_cannot_be_read_is_no_hindrance(open_shop: Make) -> None:
    shop = open_shop()
    layer_id = await build(shop, "one")
    for path in (shop.folder / "resolved").iterdir():
        path.write_text('{"target": 1, "wheels": [{}]}')
    assert await build(open_shop(), "one") == layer_id
