"""An index of the operator's own: a small one of PEP 503 on the loopback, honest or not."""

import base64
import hashlib
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import web

from app.kernel.errors import AppError, Code
from app.sandbox.layers import LayerLimits, Sources, open_sources
from tests.sandbox.layers.conftest import Make
from tests.sandbox.layers.wheels import make_wheel

pytestmark = pytest.mark.anyio
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
LOGIN = ("reader", "s3cret")


@dataclass
class Index:
    """Serves the wheels of a folder; `asked` are the paths that were asked for."""

    folder: Path
    asked: list[str] = field(default_factory=list)
    login: tuple[str, str] | None = None
    lies: dict[str, str] = field(default_factory=dict)
    broken: dict[str, bytes | None] = field(default_factory=dict)
    address: str = ""

    def app(self) -> web.Application:
        made = web.Application(middlewares=[self.gate])
        made.router.add_get("/simple/{name}/", self.page)
        made.router.add_get("/files/{name}", self.file)
        return made

    @web.middleware
    async def gate(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.asked.append(request.path)
        if self.login is not None:
            given = request.headers.get("authorization", "")
            wanted = base64.b64encode(":".join(self.login).encode()).decode()
            if given != f"Basic {wanted}":
                return web.Response(status=401, headers={"www-authenticate": "Basic"})
        return await handler(request)

    async def page(self, request: web.Request) -> web.Response:
        name = request.match_info["name"].replace("-", "_")
        links = [self._link(path) for path in sorted(self.folder.glob(f"{name}-*"))]
        if not links:
            return web.Response(status=404)
        return web.Response(
            text=f"<html><body>{''.join(links)}</body></html>", content_type="text/html"
        )

    def _link(self, path: Path) -> str:
        real = hashlib.sha256(path.read_bytes()).hexdigest()
        digest = self.lies.get(path.name, real)
        link = f'href="/files/{path.name}#sha256={digest}" data-core-metadata="true"'
        return f"<a {link}>{path.name}</a>"

    async def file(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        if name.endswith(".metadata"):
            return web.Response(body=_metadata(self.folder / name.removesuffix(".metadata")))
        if name in self.broken:
            content = self.broken[name]
            return web.Response(status=404) if content is None else web.Response(body=content)
        return web.FileResponse(self.folder / name)


def _metadata(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("/METADATA")]
        return archive.read(name)


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[Index]:
    folder = tmp_path / "index"
    folder.mkdir()
    made = Index(folder)
    runner = web.AppRunner(made.app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    made.address = f"http://127.0.0.1:{port}/simple"
    yield made
    await runner.cleanup()


async def test_wheels_come_from_the_index(open_shop: Make, index: Index) -> None:
    make_wheel(index.folder, "first", "1.0")
    make_wheel(index.folder, "second", "2.0", requires=["first", "packaging"])
    shop = open_shop(sources=Sources(index=index.address))
    prepared = await shop.room_for("second")
    source = prepared.mounts[0].source
    assert sorted(path.name for path in source.glob("*.py")) == ["first.py", "second.py"]
    asked = len(index.asked)
    assert (await open_shop(sources=Sources(index=index.address)).room_for("second")) == prepared
    assert len(index.asked) == asked


async def test_the_wheelhouse_comes_first(open_shop: Make, index: Index, wheelhouse: Path) -> None:
    make_wheel(index.folder, "first", files={"first.py": "FROM = 'index'\n"})
    make_wheel(index.folder, "second")
    make_wheel(wheelhouse, "first", files={"first.py": "FROM = 'wheelhouse'\n"})
    shop = open_shop(sources=Sources(wheelhouse, index.address))
    prepared = await shop.room_for("first", "second")
    source = prepared.mounts[0].source
    assert "wheelhouse" in (source / "first.py").read_text()
    assert (source / "second.py").exists()


async def test_a_lock_of_an_index_grows_old(open_shop: Make, index: Index) -> None:
    make_wheel(index.folder, "first", "1.0")
    sources = Sources(index=index.address)
    old = await open_shop(sources=sources).room_for("first")
    make_wheel(index.folder, "first", "1.1")
    assert (await open_shop(sources=sources).room_for("first")).id == old.id
    later = open_shop(LayerLimits(index_lock_s=0), sources=sources)
    assert (await later.room_for("first")).id != old.id


@pytest.mark.parametrize("login", [LOGIN, ("reader@lab", "s3:cr/et%41")])
async def test_its_login_goes_to_it_alone_and_is_not_told(
    open_shop: Make, index: Index, caplog: pytest.LogCaptureFixture, login: tuple[str, str]
) -> None:
    index.login = login
    make_wheel(index.folder, "first")
    user, password = (quote(text, safe="") for text in login)
    address = index.address.replace("://", f"://{user}:{password}@")
    shop = open_shop(sources=Sources(index=address))
    assert (await shop.room_for("first")).id
    with pytest.raises(AppError) as caught:
        await shop.room_for("absent")
    assert caught.value.code is Code.SANDBOX_REQUIREMENT_UNKNOWN
    strange = open_shop(sources=Sources(index=index.address), name="strange")
    with pytest.raises(AppError) as refused:
        await strange.room_for("first")
    told = f"{caught.value.as_dict()} {refused.value.as_dict()} {caplog.text} {shop.layers!r}"
    kept = [path.read_text() for path in (shop.folder / "resolved").iterdir()]
    for secret in (login[1], password):
        assert secret not in told + repr(Sources(index=address))
        assert not [text for text in kept if secret in text]


async def test_an_unknown_package_is_unknown(open_shop: Make, index: Index) -> None:
    make_wheel(index.folder, "needy", requires=["not-there>=2"])
    shop = open_shop(sources=Sources(index=index.address))
    for text in ("absent", "needy"):
        with pytest.raises(AppError) as caught:
            await shop.room_for(text)
        assert caught.value.code is Code.SANDBOX_REQUIREMENT_UNKNOWN, caught.value.as_dict()
        assert caught.value.details["why"]


async def test_a_file_that_is_not_the_locked_one(open_shop: Make, index: Index) -> None:
    wheel = make_wheel(index.folder, "first")
    index.lies[wheel.name] = "0" * 64
    shop = open_shop(sources=Sources(index=index.address))
    with pytest.raises(AppError) as caught:
        await shop.room_for("first")
    assert caught.value.code is Code.SANDBOX_REQUIREMENT_REFUSED
    assert (shop.left(), shop.shelved(), shop.unpacked) == ([], [], {})
    index.lies.clear()
    later = open_shop(LayerLimits(index_lock_s=0), sources=Sources(index=index.address))
    assert (await later.room_for("first")).id


async def test_a_file_without_end_is_cut_off(open_shop: Make, index: Index) -> None:
    wheel = make_wheel(index.folder, "first")
    index.broken[wheel.name] = bytes(3 * 2**20)
    shop = open_shop(LayerLimits(wheel_bytes=2**20), sources=Sources(index=index.address))
    with pytest.raises(AppError) as caught:
        await shop.room_for("first")
    assert caught.value.code is Code.SANDBOX_REQUIREMENT_REFUSED
    assert "more than 1048576 bytes" in caught.value.message
    index.broken.clear()
    assert (await shop.room_for("first")).id


async def test_a_file_that_vanished(open_shop: Make, index: Index) -> None:
    wheel = make_wheel(index.folder, "first")
    index.broken[wheel.name] = None
    shop = open_shop(sources=Sources(index=index.address))
    with pytest.raises(AppError) as caught:
        await shop.room_for("first")
    assert caught.value.code is Code.SANDBOX_FAILED
    assert caught.value.is_retryable
    assert (shop.left(), shop.shelved()) == ([], [])
    index.broken.clear()
    assert (await shop.room_for("first")).id


async def test_an_index_that_does_not_answer(open_shop: Make) -> None:
    shop = open_shop(sources=Sources(index="http://127.0.0.1:9/simple"))
    with pytest.raises(AppError) as caught:
        await shop.room_for("first")
    assert caught.value.code is Code.SANDBOX_FAILED
    assert "index" in caught.value.message


@pytest.mark.parametrize(
    "index", ["ftp://example.org/simple", "example.org/simple", "file:///etc", "https://", "x"]
)
def test_an_index_has_an_address(index: str) -> None:
    with pytest.raises(AppError) as caught:
        open_sources(None, index)
    assert caught.value.code is Code.CONFIG_INVALID
    assert "UAOL_SANDBOX_INDEX" in caught.value.message


def test_a_wheelhouse_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(AppError, match="UAOL_SANDBOX_WHEELHOUSE"):
        open_sources(tmp_path / "absent", None)
    assert not open_sources(None, None)
    assert open_sources(tmp_path, "").wheelhouse == tmp_path
