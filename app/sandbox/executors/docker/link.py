"""One running container as a link: its wire, and its certain end with what the engine saw of it."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from app.sandbox.executors.cgroups import group_of
from app.sandbox.executors.docker.attach import Attachment
from app.sandbox.executors.docker.engine import Engine, EngineGoneError, MissingError
from app.sandbox.executors.usage import tree_usage
from app.sandbox.links import Fate

_KILLED = 128 + 9


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
        fate = replace(await self._look(), complaint=self._attachment.complaint)
        # first of all: the engine does not let go of a stream that is full and that nobody reads
        self._attachment.close()
        try:
            await self._engine.remove(self.container)
        except OSError as error:
            self._lose(self.container)
            fate = replace(fate, outage=fate.outage or str(error))
        return fate

    async def _look(self) -> Fate:
        """What only a container that is still there can tell.

        As patient as the engine's client: who gives up sooner on a busy engine blames the task for
        what it has not done.
        """
        try:
            state = (await self._engine.inspect(self.container))["State"]
        except EngineGoneError as error:
            return Fate(outage=str(error))
        except MissingError:
            return Fate(outage="the container was removed from outside")
        except OSError:
            return Fate()
        # no signal from inside ends the first process of a pid namespace
        is_killed = not state.get("Running") and state.get("ExitCode") == _KILLED
        if is_killed and not state.get("OOMKilled"):
            return Fate(outage="the container was killed from outside")
        pid = int(state.get("Pid") or 0)
        fate = await asyncio.to_thread(_seen, self.container, pid)
        return replace(fate, is_oom=fate.is_oom or bool(state.get("OOMKilled")))


def _seen(container: str, pid: int) -> Fate:
    """What the host knows of a container's processes, if they can be seen from here.

    Not the engine's own figures: asking for those takes up to a second, and that a process was
    killed for memory it says only of the last one.
    """
    try:
        if container not in Path(f"/proc/{pid}/cgroup").read_text(encoding="ascii"):
            return Fate()
        return Fate(group_of(pid).counted().is_oom, tree_usage(pid))
    except OSError:
        return Fate()
