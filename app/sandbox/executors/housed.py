"""A worker with the folder by which its tasks get out, if they may; both end together."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from app.sandbox.executors.worker import Stop, Worker
from app.sandbox.furnishing import Egress
from app.sandbox.links import Fate
from app.sandbox.types import Event, TaskResult, TaskSpec

Heard = Callable[[Event], None] | None


class Housed:
    """See `Worker`."""

    def __init__(self, worker: Worker, folder: Path | None, egress: Egress | None) -> None:
        self._worker = worker
        self._folder, self._egress = folder, egress

    @property
    def is_alive(self) -> bool:
        """Whether it can be given a task."""
        return self._worker.is_alive

    @property
    def has_begun(self) -> bool:
        """Whether code of a task has ever run in it."""
        return self._worker.has_begun

    async def run(self, spec: TaskSpec, heard: Heard, stop: Stop) -> TaskResult:
        """One task, with a door that is open as long as it runs."""
        if spec.egress is None or self._egress is None or self._folder is None:
            return await self._worker.run(spec, heard, stop)
        door = await self._egress.open(self._folder, spec.egress, spec.task_id)
        try:
            result = await self._worker.run(spec, heard, stop)
        finally:
            await door.close()
        return replace(result, egress=tuple(door.calls))

    async def kill(self) -> Fate:
        """End it and remove its folder."""
        try:
            return await self._worker.kill()
        finally:
            if self._egress is not None and self._folder is not None:
                self._egress.drop_folder(self._folder)
