"""Layers over the sandbox of this machine, and wheels in a folder of the test's own."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from app.sandbox import Capabilities, Executor, TaskResult, TaskSpec
from app.sandbox.executors.bubblewrap import bubblewrap_backends
from app.sandbox.executors.pooled import PooledExecutor
from app.sandbox.executors.worker import Worker
from app.sandbox.layers import LayerLimits, Layers, Prepared, Sources
from app.sandbox.links import Backend, Room

# Of who waits for a layer where no test is about that: a machine may be slow.
PATIENCE_S = 100.0
Make = Callable[..., "Shop"]
Inside = Callable[[Prepared, str], Awaitable[TaskResult]]


@dataclass
class Shop:
    """Layers of one folder, as one process has them, and what they had the sandbox do."""

    layers: Layers
    executor: Executor
    capabilities: Capabilities
    folder: Path
    unpacked: Counter[str] = field(default_factory=Counter)
    before: Callable[[TaskSpec], Awaitable[None]] | None = None

    async def run(self, spec: TaskSpec) -> TaskResult:
        if spec.input_files:
            self.unpacked[spec.code.rpartition('"filename": "')[2].partition('"')[0]] += 1
            if self.before is not None:
                await self.before(spec)
        return await self.executor.run(spec)

    async def room_for(self, *requirements: str) -> Prepared:
        return await self.layers.room_for(requirements, self.capabilities)

    def left(self) -> list[str]:
        """Everything on the shelf but finished layers and their records."""
        found = [path for path in (self.folder / "layers").iterdir() if path.name[0] == "."]
        return [path.name for path in (*found, *(self.folder / "fetched").iterdir())]

    def shelved(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "layers").iterdir())


@pytest.fixture(scope="session")
async def backend(anyio_backend: str) -> AsyncIterator[Backend]:
    opened = bubblewrap_backends()[0]
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
async def executor(backend: Backend) -> AsyncIterator[PooledExecutor]:
    opened = PooledExecutor(backend)
    yield opened
    await opened.close()


@pytest.fixture
def inside(backend: Backend) -> Inside:
    """Run code in a sandbox that has what was prepared."""

    async def run(prepared: Prepared, code: str) -> TaskResult:
        room = Room(mounts=prepared.mounts, sites=prepared.sites)
        worker = Worker(await backend.launch(room), room, await backend.head())
        await worker.start()
        try:
            return await worker.run(TaskSpec("inside", code))
        finally:
            await worker.kill()

    return run


@pytest.fixture
def wheelhouse(tmp_path: Path) -> Path:
    folder = tmp_path / "wheelhouse"
    folder.mkdir()
    return folder


@pytest.fixture
async def open_shop(executor: Executor, tmp_path: Path, wheelhouse: Path) -> AsyncIterator[Make]:
    opened: list[Shop] = []
    capabilities = await executor.capabilities()

    def make(
        limits: LayerLimits | None = None, sources: Sources | None = None, name: str = "shelf"
    ) -> Shop:
        sources = sources if sources is not None else Sources(wheelhouse)
        limits = limits or LayerLimits()
        if limits.patience_s == LayerLimits.patience_s:
            limits = replace(limits, patience_s=PATIENCE_S)
        shop = Shop(
            Layers(tmp_path / name, sources, limits), executor, capabilities, tmp_path / name
        )
        shop.layers.build_with(shop.run)
        opened.append(shop)
        return shop

    yield make
    for shop in opened:
        await shop.layers.close()
