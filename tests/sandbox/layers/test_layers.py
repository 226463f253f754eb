"""A layer is made once, in a sandbox, and serves everybody; two layers are strangers."""

import asyncio
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from app.kernel.errors import AppError, Code
from app.sandbox import TaskSpec
from app.sandbox.layers import Sources
from app.sandbox.layers.resolver import Resolver
from tests.sandbox.layers.conftest import Inside, Make
from tests.sandbox.layers.wheels import make_wheel
from tests.sandbox.rooms import until

pytestmark = pytest.mark.anyio


async def test_nothing_is_made_for_what_is_installed(open_shop: Make) -> None:
    shop = open_shop()
    prepared = await shop.room_for("packaging>=20", "absent; python_version < '3'")
    assert (prepared.mounts, prepared.sites, prepared.id) == ((), (), "")
    assert not shop.folder.exists()


async def test_a_package_and_what_it_needs(
    open_shop: Make, wheelhouse: Path, inside: Inside
) -> None:
    make_wheel(wheelhouse, "first", "1.0")
    make_wheel(wheelhouse, "first", "2.0")
    make_wheel(wheelhouse, "second", "3.0", requires=["first<2", "packaging"])
    prepared = await open_shop().room_for("second")
    code = (
        "import first, second, packaging, importlib.metadata as m\n"
        "print(first.VERSION, second.VERSION, m.version('second'))\n"
        "print(first.__file__, packaging.__file__.startswith('/opt/layers'))\n"
    )
    result = await inside(prepared, code)
    target = prepared.sites[0]
    assert result.stdout == f"1.0 3.0 3.0\n{target}/first.py False\n", result.stderr
    assert target == f"/opt/layers/{prepared.id}"


async def test_it_cannot_be_changed_from_inside(
    open_shop: Make, wheelhouse: Path, inside: Inside
) -> None:
    make_wheel(wheelhouse, "first")
    prepared = await open_shop().room_for("first")
    code = """
import os, first
place = os.path.dirname(first.__file__)
def attempt(action, *args):
    try:
        action(*args)
    except OSError as error:
        return error.strerror
    return "allowed"
print(attempt(open, first.__file__, "a"), attempt(open, place + "/new", "w"),
      attempt(os.remove, first.__file__), attempt(os.chmod, first.__file__, 0o666),
      attempt(os.rename, place, place + "-gone"), attempt(os.utime, first.__file__), sep="|")
"""
    result = await inside(prepared, code)
    assert set(result.stdout.strip().split("|")) <= {
        "Read-only file system", "Permission denied", "Operation not permitted",
        "Device or resource busy",
    }  # fmt: skip
    source = prepared.mounts[0].source
    assert sorted(path.name for path in source.glob("*.py")) == ["first.py"]
    modes = {stat.S_IMODE(path.stat().st_mode) for path in [source, *source.rglob("*")]}
    assert modes == {0o444, 0o555}


async def test_two_layers_do_not_see_each_other(
    open_shop: Make, wheelhouse: Path, inside: Inside
) -> None:
    make_wheel(wheelhouse, "first")
    make_wheel(wheelhouse, "second")
    shop = open_shop()
    one, other = await asyncio.gather(shop.room_for("first"), shop.room_for("second"))
    assert one.id != other.id
    code = (
        "import os\n"
        "for name in ('first', 'second'):\n"
        "    try: print(__import__(name).__name__)\n"
        "    except ImportError: print('absent')\n"
        "print(os.listdir('/opt/layers'))\n"
    )
    found = [(await inside(prepared, code)).stdout for prepared in (one, other)]
    assert found == [f"first\nabsent\n['{one.id}']\n", f"absent\nsecond\n['{other.id}']\n"]


async def test_modules_come_compiled(open_shop: Make, wheelhouse: Path, inside: Inside) -> None:
    make_wheel(
        wheelhouse, "first", files={"first/__init__.py": "x = 1\n", "first/bad.py": "def (\n"}
    )
    prepared = await open_shop().room_for("first")
    compiled = [path.name for path in prepared.mounts[0].source.rglob("*.pyc")]
    assert [name.partition(".")[0] for name in compiled] == ["__init__"]
    code = "import first; print(first.__cached__, first.x, first.__spec__.loader.get_code.__name__)"
    result = await inside(prepared, code)
    assert result.stdout.split()[0].startswith(f"{prepared.sites[0]}/first/__pycache__/__init__.")
    trace = await inside(prepared, "import first.bad")
    assert "SyntaxError" in trace.stderr


async def test_only_modules_are_installed(open_shop: Make, wheelhouse: Path) -> None:
    files = {
        "first.py": "", "evil.pth": "import os; os._exit(1)\n", "first-1.0.data/scripts/tool": "x",
        "first-1.0.data/purelib/pure.py": "", "first-1.0.data/platlib/plat.py": "",
        "first-1.0.data/data/etc/conf": "x", "first-1.0.data/headers/h.h": "x",
    }  # fmt: skip
    make_wheel(wheelhouse, "first", files=files)
    prepared = await open_shop().room_for("first")
    names = {
        path.relative_to(prepared.mounts[0].source).as_posix()
        for path in prepared.mounts[0].source.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    info = {f"first-1.0.dist-info/{name}" for name in ("METADATA", "RECORD", "WHEEL")}
    assert names == {"first.py", "pure.py", "plat.py"} | info


async def test_it_is_built_once(open_shop: Make, wheelhouse: Path) -> None:
    make_wheel(wheelhouse, "first")
    make_wheel(wheelhouse, "second", requires=["first"])
    here, there = open_shop(), open_shop()
    wishes = [
        shop.room_for("second", name) for shop in (here, there) for name in ("first", "FIRST")
    ]
    prepared = await asyncio.gather(*wishes, here.room_for("second"), there.room_for("second"))
    assert len({one.id for one in prepared}) == 1
    built = here.unpacked + there.unpacked
    assert built == {"first-1.0-py3-none-any.whl": 1, "second-1.0-py3-none-any.whl": 1}
    # The second use asks neither the resolver nor the sandbox.
    later = open_shop()
    again = await later.room_for("second")
    assert (again.id, later.unpacked) == (prepared[0].id, {})
    assert (here.left(), here.shelved()) == ([], [prepared[0].id])


async def test_few_resolve_at_once(
    open_shop: Make, wheelhouse: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(wheelhouse, "first")
    answer, running = Resolver._answer, [0]
    four = asyncio.Event()

    async def counted(self: Resolver, *asked: Any) -> str:
        running.append(running[-1] + 1)
        if running[-1] == 4:
            four.set()
        await four.wait()
        try:
            return await answer(self, *asked)
        finally:
            running.append(running[-1] - 1)

    monkeypatch.setattr(Resolver, "_answer", counted)
    shop = open_shop()
    prepared = await asyncio.gather(*(shop.room_for(f"first>=0.{n}") for n in range(12)))
    assert len({one.id for one in prepared}) == 1
    assert (max(running), len(running)) == (4, 25)


async def test_a_new_wheel_makes_a_new_layer(open_shop: Make, wheelhouse: Path) -> None:
    make_wheel(wheelhouse, "first", "1.0")
    shop = open_shop()
    old = await shop.room_for("first")
    make_wheel(wheelhouse, "first", "1.1")
    new = await shop.room_for("first")
    make_wheel(wheelhouse, "first", "1.1", files={"first.py": "changed = True\n"})
    changed = await shop.room_for("first")
    assert len({old.id, new.id, changed.id}) == 3
    assert (await shop.room_for("first==1.0")).id == old.id


async def test_progress_is_told_to_all_who_wait(
    open_shop: Make, wheelhouse: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_wheel(wheelhouse, "first")
    make_wheel(wheelhouse, "second", requires=["first"])
    shop = open_shop()
    told: list[list[str]] = [[], []]
    answer = Resolver._answer

    async def answer_both(self: Resolver, *asked: Any) -> str:
        await until(lambda: all(told))
        return await answer(self, *asked)

    async def before(_spec: TaskSpec) -> None:
        await until(lambda: len(told[0]) == len(told[1]))

    # it goes no further before both have come to wait for it
    monkeypatch.setattr(Resolver, "_answer", answer_both)
    shop.before = before
    await asyncio.gather(
        *(shop.layers.room_for(["second"], shop.capabilities, heard.append) for heard in told)
    )
    expected = [
        "Resolving second", "Installing first 1.0 (1 of 2)", "Installing second 1.0 (2 of 2)",
    ]  # fmt: skip
    assert told == [expected, expected]


@pytest.mark.parametrize("text", ["absent", "first>=2", "needy"])
async def test_what_is_not_to_be_had_lists_what_there_is(
    open_shop: Make, wheelhouse: Path, text: str
) -> None:
    make_wheel(wheelhouse, "first", "1.0")
    make_wheel(wheelhouse, "needy", requires=["not-there"])
    (wheelhouse / "source-1.0.tar.gz").write_bytes(b"no wheel")
    (wheelhouse / "odd name.whl").write_bytes(b"no wheel")
    shop = open_shop()
    with pytest.raises(AppError) as caught:
        await shop.room_for(text, "packaging")
    error = caught.value
    assert error.code is Code.SANDBOX_REQUIREMENT_UNKNOWN
    assert error.details["missing"] == [text]
    assert error.details["wheelhouse"] == ["first==1.0", "needy==1.0"]
    assert "first==1.0" in str(error.hint)
    assert str(wheelhouse) not in str(error.as_dict())
    assert shop.unpacked == {}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("os", "os is part of Python: leave it out."),
        ("concurrent", "concurrent is part of Python"),
        ("Bio", "bio is a module of biopython: ask for that."),
        ("sklearn>=1", "sklearn is a module of scikit-learn"),
    ],
)
async def test_a_module_is_no_package(open_shop: Make, name: str, said: str) -> None:
    with pytest.raises(AppError) as caught:
        await open_shop(sources=Sources()).room_for("packaging", name)
    assert said in str(caught.value.hint)


async def test_without_sources_nothing_is_fetched(open_shop: Make) -> None:
    shop = open_shop(sources=Sources())
    with pytest.raises(AppError) as caught:
        await shop.room_for("absent")
    assert caught.value.code is Code.SANDBOX_REQUIREMENT_UNKNOWN
    assert "Nothing else can be installed here" in str(caught.value.hint)
    assert not shop.folder.exists()


async def test_another_version_than_the_installed_is_refused(
    open_shop: Make, wheelhouse: Path
) -> None:
    make_wheel(wheelhouse, "packaging", "1.0")
    make_wheel(wheelhouse, "dated", requires=["packaging<2"])
    shop = open_shop()
    version = shop.capabilities.distributions["packaging"]
    with pytest.raises(AppError, match=f"packaging {version}") as caught:
        await shop.room_for("packaging<2")
    assert caught.value.code is Code.SANDBOX_REQUIREMENT_UNKNOWN
    with pytest.raises(AppError) as caught:
        await shop.room_for("dated")
    assert caught.value.code is Code.SANDBOX_REQUIREMENT_UNKNOWN
    assert "packaging" in caught.value.details["why"]


async def test_a_source_archive_never_runs(
    open_shop: Make, wheelhouse: Path, tmp_path: Path
) -> None:
    import io
    import tarfile

    trap = tmp_path / "trap"
    with tarfile.open(wheelhouse / "boobytrap-1.0.tar.gz", "w:gz") as archive:
        for name, text in (
            ("setup.py", f"open({str(trap)!r}, 'w')\nimport setuptools; setuptools.setup()\n"),
            ("PKG-INFO", "Metadata-Version: 2.1\nName: boobytrap\nVersion: 1.0\n"),
        ):
            entry = tarfile.TarInfo(f"boobytrap-1.0/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    make_wheel(wheelhouse, "wants-it", requires=["boobytrap"])
    shop = open_shop()
    for text in ("boobytrap", "wants-it"):
        with pytest.raises(AppError) as caught:
            await shop.room_for(text)
        assert caught.value.code is Code.SANDBOX_REQUIREMENT_UNKNOWN
    assert not trap.exists()


async def test_the_servers_environment_does_not_lead_astray(
    open_shop: Make, wheelhouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    make_wheel(elsewhere, "first", "9.0")
    make_wheel(wheelhouse, "first", "1.0")
    monkeypatch.setenv("UV_FIND_LINKS", str(elsewhere))
    monkeypatch.setenv("PIP_FIND_LINKS", str(elsewhere))
    monkeypatch.setenv("UV_INDEX_URL", "https://index.invalid/simple")
    monkeypatch.chdir(elsewhere)
    Path("uv.toml").write_text(f"find-links = [{os.fspath(elsewhere)!r}]\n")
    prepared = await open_shop().room_for("first")
    assert list(prepared.mounts[0].source.glob("first-1.0.dist-info"))
