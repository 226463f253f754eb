"""One running container as a link: its wire, and its certain end with what the engine saw of it."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from app.sandbox.executors.docker.attach import Attachment
from app.sandbox.executors.docker.engine import Engine, EngineGoneError
from app.sandbox.links import Fate
from app.sandbox.types import Usage

_LOOK_SECONDS = 2.0
_NANO = 1e-9


class DockerLink:
    """See `app.sandbox.links.Link`."""

    def __init__(
        self, engine: Engine, container: str, attachment: Attachment, lose: Callable[[str], None]
    ) -> None:
        """`lose` is told of a container that could not be removed now."""
        self.container = container
        self.reader = attachment.reader
        self._engine, self._attachment, self._lose = engine, attachment, lose
        self._end: asyncio.Task[Fate] | None = None

    async def send(self, data: bytes) -> None:
        """See Link.send."""
        await self._attachment.send(data)

    async def kill(self) -> Fate:
        """See Link.kill. Where the engine does not answer, the container goes once it does."""
        if self._end is None:
            self._end = asyncio.ensure_future(self._kill())
        # to be cut off while killing must not leave it half done
        return await asyncio.shield(self._end)

    async def _kill(self) -> Fate:
        fate = await self._look()
        try:
            await self._engine.remove(self.container)
        except OSError as error:
            self._lose(self.container)
            fate = Fate(fate.is_oom, fate.usage, fate.complaint or str(error))
        finally:
            self._attachment.close()
        return fate

    async def _look(self) -> Fate:
        """What only a container that is still there can tell."""
        complaint = ""
        state: Mapping[str, Any] = {}
        stats: Mapping[str, Any] = {}
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                told, stats = await asyncio.gather(
                    self._engine.inspect(self.container), self._stats()
                )
                state = told["State"]
        except EngineGoneError as error:
            complaint = str(error)
        except (TimeoutError, OSError):
            pass  # removed by somebody else, or the engine is slow: nothing is known then
        complaint = complaint or self._attachment.complaint or str(state.get("Error") or "")
        return Fate(bool(state.get("OOMKilled")), usage(stats), complaint)

    async def _stats(self) -> Mapping[str, Any]:
        with contextlib.suppress(OSError):
            return await self._engine.stats(self.container)
        return {}


def usage(stats: Mapping[str, Any]) -> Usage:
    """CPU time and peak memory of the whole container; zero for what the engine does not say."""
    memory = stats.get("memory_stats") or {}
    cpu = (stats.get("cpu_stats") or {}).get("cpu_usage") or {}
    # cgroup v2 has no peak here
    peak = memory.get("max_usage") or memory.get("usage") or 0
    return Usage(cpu_s=int(cpu.get("total_usage") or 0) * _NANO, peak_memory_bytes=int(peak))
