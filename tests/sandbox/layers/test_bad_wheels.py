"""Wheels that are broken, hostile or meant for another machine: refused, and nothing is left."""

from collections.abc import Callable
from pathlib import Path

import pytest

from app.kernel.errors import AppError, Code
from app.sandbox.layers import LayerLimits
from tests.sandbox.layers.conftest import Make, Shop
from tests.sandbox.layers.wheels import add_entry, add_link, add_null, flip_data, make_wheel

pytestmark = pytest.mark.anyio

MODULE = {"bad.py": b"VALUE = 'some text that deflates to something'\n"}


def cut_short(wheel: Path) -> None:
    wheel.write_bytes(wheel.read_bytes()[:-60])


def no_zip(wheel: Path) -> None:
    wheel.write_bytes(b"this is no zip file at all\n" * 10)


def emptied(wheel: Path) -> None:
    wheel.write_bytes(b"")


def other_package(wheel: Path) -> None:
    made = make_wheel(wheel.parent, "other")
    made.rename(wheel)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "cut short": cut_short,
    "no zip": no_zip,
    "empty": emptied,
    "another package": other_package,
    "wrong checksum": lambda wheel: flip_data(wheel, "bad.py"),
    "absolute name": lambda wheel: add_entry(wheel, "/etc/cron.d/x"),
    "name that climbs": lambda wheel: add_entry(wheel, "../../../../tmp/climbed"),
    "name that climbs later": lambda wheel: add_entry(wheel, "bad/../../climbed"),
    "climbing data": lambda wheel: add_entry(wheel, "bad-1.0.data/purelib/../../../climbed"),
    "backslash": lambda wheel: add_entry(wheel, "..\\climbed"),
    "control character": lambda wheel: add_entry(wheel, "new\nline.py"),
    "null": add_null,
    "long name": lambda wheel: add_entry(wheel, "d/" * 250 + "x"),
    "link": lambda wheel: add_link(wheel, "bad/link", "/etc/shadow"),
    "link to a folder": lambda wheel: add_link(wheel, "linked", "/etc"),
    "long part of a name": lambda wheel: add_entry(wheel, "d" * 300 + "/x"),
    "file and folder": lambda wheel: add_entry(wheel, "bad.py/x"),
    "second metadata": lambda wheel: add_entry(wheel, "worse-1.0.dist-info/METADATA"),
}


async def refused(shop: Shop, text: str) -> AppError:
    with pytest.raises(AppError) as caught:
        await shop.room_for(text)
    assert (shop.left(), shop.shelved()) == ([], [])
    return caught.value


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("damage", DAMAGE)
async def test_a_bad_wheel_is_refused_and_can_be_replaced(
    open_shop: Make, wheelhouse: Path, tmp_path: Path, damage: str
) -> None:
    DAMAGE[damage](make_wheel(wheelhouse, "bad", files=MODULE))
    shop = open_shop()
    error = await refused(shop, "bad")
    assert error.code is Code.SANDBOX_REQUIREMENT_REFUSED, error.as_dict()
    assert error.hint
    assert str(tmp_path) not in str(error.as_dict())
    assert not list(tmp_path.rglob("*climbed*"))
    make_wheel(wheelhouse, "bad", files=MODULE)
    assert (await shop.room_for("bad")).id


async def test_one_bad_wheel_among_good_ones(open_shop: Make, wheelhouse: Path) -> None:
    make_wheel(wheelhouse, "aaa")
    wheel = make_wheel(wheelhouse, "bad", files=MODULE, requires=["aaa"])
    flip_data(wheel, "bad.py")
    shop = open_shop()
    error = await refused(shop, "bad")
    assert error.code is Code.SANDBOX_REQUIREMENT_REFUSED
    assert error.details["package"] == "bad 1.0"
    assert (await shop.room_for("aaa")).id


BOMB = LayerLimits(wheel_bytes=2**20, layer_bytes=2 * 2**20, files=100)


async def test_a_bomb_is_stopped(open_shop: Make, wheelhouse: Path) -> None:
    wheel = make_wheel(wheelhouse, "bomb", files={"zeros.bin": bytes(2**26)})
    assert wheel.stat().st_size < 2**17
    error = await refused(open_shop(BOMB), "bomb")
    assert error.code is Code.SANDBOX_REQUIREMENT_REFUSED
    assert "more than 1048576 bytes" in error.message


async def test_a_bomb_of_byte_code_is_stopped(open_shop: Make, wheelhouse: Path) -> None:
    code = "x = (" + "0," * 200_000 + ")\ny = 'a' * 2000000\n" + "z = 1\n" * 50_000
    make_wheel(wheelhouse, "bomb", files={f"bomb{number}.py": code for number in range(3)})
    error = await refused(open_shop(BOMB), "bomb")
    assert error.code is Code.SANDBOX_REQUIREMENT_REFUSED


async def test_too_many_files(open_shop: Make, wheelhouse: Path) -> None:
    make_wheel(wheelhouse, "many", files={f"many/f{number}": "" for number in range(200)})
    error = await refused(open_shop(BOMB), "many")
    assert "more than 100 files and folders" in error.message


async def test_too_many_folders(open_shop: Make, wheelhouse: Path) -> None:
    files = {f"many{number}/{'a/' * 60}f": "" for number in range(3)}
    make_wheel(wheelhouse, "many", files=files)
    error = await refused(open_shop(BOMB), "many")
    assert "more than 100 files and folders" in error.message


async def test_a_layer_has_a_size(open_shop: Make, wheelhouse: Path) -> None:
    for name, needs in (("one", []), ("two", ["one"]), ("three", ["two"])):
        make_wheel(wheelhouse, name, files={f"{name}.bin": bytes(1_000_000)}, requires=needs)
    shop = open_shop(BOMB)
    error = await refused(shop, "three")
    assert error.code is Code.SANDBOX_REQUIREMENT_REFUSED
    assert (await shop.room_for("two")).id


async def test_a_layer_has_so_many_packages(open_shop: Make, wheelhouse: Path) -> None:
    for number in range(5):
        make_wheel(
            wheelhouse, f"part{number}", requires=[f"part{number + 1}"] if number < 4 else []
        )
    shop = open_shop(LayerLimits(wheels=4))
    error = await refused(shop, "part0")
    assert "more than 4 packages" in error.message
    assert (await shop.room_for("part1")).id


@pytest.mark.parametrize(
    "tag",
    [
        "cp311-cp311-win_amd64", "cp311-cp311-macosx_11_0_arm64", "cp27-none-any",
        "cp311-cp311-manylinux_2_17_s390x", "pp39-pypy39_pp73-manylinux_2_17_x86_64",
        "cp311-cp311-manylinux_2_99_x86_64", "cp399-cp399-linux_x86_64",
    ],
)  # fmt: skip
async def test_wheels_for_others_are_none(open_shop: Make, wheelhouse: Path, tag: str) -> None:
    make_wheel(wheelhouse, "foreign", tag=tag)
    shop = open_shop()
    error = await refused(shop, "foreign")
    assert error.code is Code.SANDBOX_REQUIREMENT_UNKNOWN
    assert error.details["missing"] == ["foreign"]
    assert shop.unpacked == {}


async def test_the_best_wheel_of_several_is_taken(open_shop: Make, wheelhouse: Path) -> None:
    shop = open_shop()
    own = "cp" + "".join(shop.capabilities.python.split(".")[:2])
    for tag in ("py3-none-any", f"{own}-none-any", "cp27-none-any", f"{own}-{own}-win_amd64"):
        make_wheel(wheelhouse, "choice", tag=tag, files={"choice.py": f"TAG = {tag!r}\n"})
    prepared = await shop.room_for("choice")
    assert f"{own}-none-any" in (prepared.mounts[0].source / "choice.py").read_text()
