"""Starts hardened containers whose only process is the runner, and forgets none of them."""

import asyncio
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

from app.sandbox.executors.docker.attach import attach
from app.sandbox.executors.docker.engine import (
    Engine,
    EngineGoneError,
    MissingError,
    check_socket,
    engine_socket,
)
from app.sandbox.executors.docker.facts import (
    BUILD_HINT,
    FACTS_FILE,
    TOOLS,
    ImageFacts,
    read_engine,
    read_image,
)
from app.sandbox.executors.docker.link import DockerLink
from app.sandbox.executors.docker.options import Maker
from app.sandbox.executors.docker.orphans import HOST_LABEL, host_id, is_orphan, labels
from app.sandbox.executors.seccomp import build_filter
from app.sandbox.links import Room
from app.sandbox.types import Capabilities, IsolationError
from sandbox.image import image_name

_ISOLATION = (
    "mount", "pid", "net", "ipc", "uts", "cgroup", "seccomp", "rlimits", "no capabilities",
    "no-new-privileges", "read-only root", "unprivileged uid",
)  # fmt: skip
_FACTS_BYTES = 4 * 2**20
# a name may come to mean another image while we run
_RECHECK_SECONDS = 30.0
_RETRY_SECONDS = 1.0


def docker_backend(image: str = "", runtime: str = "", socket: str = "") -> "DockerBackend":
    """The backend for an image (default: the one built from this source) and a runtime.

    Nothing is opened, nor Docker's SDK loaded, before the first use.
    """
    return DockerBackend(image, runtime, socket)


@dataclass(frozen=True)
class _Place:
    """What is needed to start containers, as it was at a moment of the monotonic clock."""

    engine: Engine
    maker: Maker
    seen_at: float

    @property
    def image(self) -> ImageFacts:
        return self.maker.image


class DockerBackend:
    """See `app.sandbox.links.Backend`."""

    name = "docker"

    def __init__(
        self, image: str = "", runtime: str = "", socket: str = "", cpus: float = 1.0
    ) -> None:
        """`socket` is the engine's path, `cpus` the share of processors one sandbox may use."""
        self._image, self._runtime, self._socket, self._cpus = image, runtime, socket, cpus
        self._lock = asyncio.Lock()
        self._place: _Place | None = None
        self._lost: dict[str, Engine] = {}
        self._chores: set[asyncio.Task[None]] = set()

    async def capabilities(self) -> Capabilities:
        """See Backend.capabilities."""
        try:
            place = await self._prepare()
        except OSError as error:
            hint = "Start Docker, or set UAOL_SANDBOX_EXECUTOR=bubblewrap."
            raise IsolationError(f"Docker cannot be used: {error}.", hint) from error
        return Capabilities(
            executor=self.name,
            isolation=_ISOLATION,
            best_effort=place.maker.about.best_effort,
            python=place.image.python,
            distributions=place.image.distributions,
            level=place.maker.about.level,
            image=place.image.id,
        )

    async def head(self) -> dict[str, object]:
        """See Backend.head. The pids cgroup counts processes: the limit of the uid, which all
        containers share, must not. The filter is taken once more inside, since the engine's
        library may be too old for the newest calls.
        """
        image = (await self._prepare()).image
        return {
            "sites": list(image.sites), "prefix": image.prefix, "tools": TOOLS,
            "counts_processes": True,
            "filter": build_filter(),
        }  # fmt: skip

    async def launch(self, room: Room) -> DockerLink:
        """See Backend.launch."""
        place = await self._prepare()
        starting = asyncio.ensure_future(self._start(place, room))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            self._do(_abandon(starting))
            raise

    async def close(self) -> None:
        """See Backend.close."""
        async with self._lock:
            place, self._place = self._place, None
        chores = list(self._chores)
        for chore in chores:
            if chore.get_name() == "retry":
                chore.cancel()
        await asyncio.gather(*chores, return_exceptions=True)
        await self._clear()
        self._lost.clear()
        if place:
            place.engine.close()

    async def _prepare(self) -> _Place:
        async with self._lock:
            place = self._place
            if place is None:
                self._place = await self._open()
            elif time.monotonic() - place.seen_at > _RECHECK_SECONDS:
                self._place = await self._look_again(place)
            assert self._place is not None
            return self._place

    async def _open(self) -> _Place:
        socket = engine_socket(self._socket)
        check_socket(socket)
        engine = Engine(socket)
        try:
            about = read_engine(await engine.info(), self._runtime)
            await _sweep(engine)
            image = await self._read_image(engine)
        except BaseException:
            engine.close()
            raise
        maker = Maker(image, labels(), about, self._cpus)
        return _Place(engine, maker, time.monotonic())

    async def _look_again(self, place: _Place) -> _Place:
        """The same place with a fresh look at which image the name stands for."""
        image, maker = place.image, place.maker
        if await self._image_id(place.engine) != image.id:
            image = await self._read_image(place.engine)
            maker = Maker(image, maker.labels, maker.about, maker.cpus)
        return _Place(place.engine, maker, time.monotonic())

    async def _image_id(self, engine: Engine) -> str:
        name = self._image or image_name()
        try:
            return await engine.image_id(name)
        except MissingError as error:
            raise IsolationError(f"The sandbox image {name} is not there.", BUILD_HINT) from error

    async def _read_image(self, engine: Engine) -> ImageFacts:
        """Read the image's own file from a container that is never started."""
        image_id = await self._image_id(engine)
        name = self._image or image_name()
        config = {"Image": image_id, "Cmd": ["none"], "Labels": labels(), "NetworkDisabled": True}
        container = await engine.create(config)
        try:
            archive = await engine.archive(container, FACTS_FILE, _FACTS_BYTES)
        except MissingError as error:
            raise IsolationError(f"The image {name} is not a sandbox image.", BUILD_HINT) from error
        finally:
            await engine.remove(container)
        return read_image(name, image_id, archive)

    async def _start(self, place: _Place, room: Room) -> DockerLink:
        engine, name = place.engine, f"uaol-{uuid4().hex}"
        try:
            container = await engine.create(place.maker.container(room), name)
        except MissingError as error:
            self._place = None  # removed while we ran: the next launch looks again
            raise IsolationError("The sandbox image was removed.", BUILD_HINT) from error
        except OSError:
            # it may have been made, and only the answer was lost
            self._lose(engine, name)
            raise
        try:
            attachment = await attach(engine.path, container)
            link = DockerLink(engine, container, attachment, partial(self._lose, engine))
        except OSError:
            await self._discard(engine, container)
            raise
        try:
            await engine.start(container)
        except (OSError, IsolationError):
            await link.kill()
            raise
        return link

    async def _discard(self, engine: Engine, container: str) -> None:
        try:
            await engine.remove(container)
        except OSError:
            self._lose(engine, container)

    def _lose(self, engine: Engine, container: str) -> None:
        """Note a container that could not be removed, and try again until it is."""
        self._lost[container] = engine
        if not any(chore.get_name() == "retry" and not chore.done() for chore in self._chores):
            self._do(self._retry(), "retry")

    async def _retry(self) -> None:
        while self._lost:
            await asyncio.sleep(_RETRY_SECONDS)
            await self._clear()

    async def _clear(self) -> None:
        for container, engine in tuple(self._lost.items()):
            try:
                await engine.remove(container)
            except EngineGoneError:
                break
            except OSError:
                continue
            self._lost.pop(container, None)

    def _do(self, work: Coroutine[Any, Any, None], name: str = "end") -> None:
        chore = asyncio.create_task(work, name=name)
        self._chores.add(chore)
        chore.add_done_callback(self._chores.discard)


async def _abandon(starting: "asyncio.Future[DockerLink]") -> None:
    """End a container whose starter did not wait for it."""
    try:
        link = await starting
    except (OSError, IsolationError):
        return
    await link.kill()


async def _sweep(engine: Engine) -> None:
    """Remove what earlier processes of this machine left behind."""
    for container in await engine.list_labelled(f"{HOST_LABEL}={host_id()}"):
        if is_orphan(container):
            await engine.remove(container["Id"])
