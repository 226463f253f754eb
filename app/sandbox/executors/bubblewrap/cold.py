"""Tasks without a pool: each starts a sandbox of its own. Gives way to the pooled executor."""

import asyncio
from dataclasses import replace
from pathlib import Path

from app.sandbox.executors.bubblewrap.backend import BubblewrapBackend, bubblewrap_backends
from app.sandbox.executors.worker import Stop, Worker
from app.sandbox.links import Room
from app.sandbox.types import Capabilities, TaskResult, TaskSpec


class BubblewrapExecutor:
    """See `Executor`."""

    name = "bubblewrap"

    def __init__(self, binary: Path | None) -> None:
        self._backend = BubblewrapBackend(binary)
        self._running: list[Stop] = []

    async def capabilities(self) -> Capabilities:
        """See Executor.capabilities."""
        return await self._backend.capabilities()

    async def run(self, spec: TaskSpec) -> TaskResult:
        """See Executor.run."""
        await self._backend.capabilities()
        stop = Stop(spec.task_id)
        self._running.append(stop)
        task = asyncio.ensure_future(self._run(spec, stop))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            stop.set("killed")
            await asyncio.wait([task])
            task.exception()
            raise
        finally:
            self._running.remove(stop)

    async def cancel(self, task_id: str) -> None:
        """See Executor.cancel."""
        for run in self._running:
            if run.task_id == task_id:
                run.set("killed")

    async def close(self) -> None:
        """See Executor.close."""
        for run in self._running:
            run.set("killed")
        await self._backend.close()

    async def _run(self, spec: TaskSpec, stop: Stop) -> TaskResult:
        inputs = sum(file.path.stat().st_size for file in spec.input_files if file.path.exists())
        room = Room(spec.limits, spec.limits.tmp_bytes + inputs)
        worker = Worker(await self._backend.launch(room), room, await self._backend.head())
        try:
            await worker.start()
        except OSError as error:
            return TaskResult("infra_error", stderr=f"sandbox: {error}\n", executor=self.name)
        try:
            return replace(await worker.run(spec, stop=stop), executor=self.name)
        finally:
            await worker.kill()


def bubblewrap_executors() -> list[BubblewrapExecutor]:
    """One executor per binary."""
    return [BubblewrapExecutor(backend._binary) for backend in bubblewrap_backends()]  # noqa: SLF001
