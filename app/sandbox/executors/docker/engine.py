"""The engine's API: Docker's SDK, which blocks, in threads of its own, its errors told apart.

Starting a container takes a quarter of a second and the engine does not start more than a few at
once; so starts have threads of their own and ending one never waits for them.
"""

import asyncio
import logging
import os
import stat
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from app.sandbox.types import IsolationError

if TYPE_CHECKING:
    from docker import APIClient

logger = logging.getLogger(__name__)

DEFAULT_SOCKET = "/var/run/docker.sock"
_STARTS, _OTHERS = 4, 6
_TIMEOUT_S = 60
_END_S = 20
_MISSING, _CONFLICT, _BAD_REQUEST, _FAULT = 404, 409, 400, 500
_NO_RUNTIME = ("executable file not found", "no such file or directory")

T = TypeVar("T")


class EngineGoneError(OSError):
    """The engine does not answer; it may be back in a moment."""


class MissingError(OSError):
    """The engine does not have what was named."""


def engine_socket(wanted: str = "") -> str:
    """The path of the engine's socket: as wanted, else of `DOCKER_HOST`, else the usual one.

    Raises IsolationError for an address that is no Unix socket: what is mounted into a sandbox
    must lie on the engine's own machine.
    """
    address = wanted or os.environ.get("DOCKER_HOST", "") or DEFAULT_SOCKET
    if "://" in address and not address.startswith("unix://"):
        hint = "Run the server, or its sandboxd, on the engine's machine."
        raise IsolationError("The Docker engine is on another machine.", hint)
    return address.removeprefix("unix://")


def check_socket(path: str) -> None:
    """Raises IsolationError, with what to do, if no engine can be there; costs microseconds."""
    try:
        is_socket = stat.S_ISSOCK(os.stat(path).st_mode)  # noqa: PTH116
    except OSError:
        is_socket = False
    if not is_socket:
        raise IsolationError(
            f"There is no Docker engine at {path}.",
            "Start Docker, or set UAOL_SANDBOX_EXECUTOR=bubblewrap.",
        )
    if not os.access(path, os.W_OK):
        raise IsolationError(
            f"This user may not speak to the Docker engine at {path}.",
            "Run sandboxd as a user who may; the server itself should not.",
        )


class Engine:
    """One engine's API. Every method raises EngineGoneError, or OSError with the engine's words."""

    def __init__(self, path: str) -> None:
        """`path` is its socket's. Nothing is opened before the first call."""
        self.path = path
        self._client: APIClient | None = None
        self._lock = threading.Lock()
        self._starts = ThreadPoolExecutor(_STARTS, "docker-start")
        self._others = ThreadPoolExecutor(_OTHERS, "docker")

    async def info(self) -> Mapping[str, Any]:
        """What the engine can do."""
        return await self._call(lambda api: dict(api.info()))

    async def image_id(self, name: str) -> str:
        """The id a name stands for now. Raises MissingError."""
        return await self._call(lambda api: str(api.inspect_image(name)["Id"]))

    async def create(self, config: Mapping[str, Any], name: str | None = None) -> str:
        """Make a container and return its id. Raises IsolationError for a refused setting."""
        made = await self._call(lambda api: api.create_container_from_config(dict(config), name))
        for warning in made.get("Warnings") or ():
            logger.warning("docker: %s", warning)
        return str(made["Id"])

    async def start(self, container: str) -> None:
        """Start it. Raises IsolationError if its runtime is not installed."""
        await self._call(lambda api: api.start(container), self._starts)

    async def inspect(self, container: str) -> Mapping[str, Any]:
        """Its configuration and state. Raises MissingError."""
        return await self._call(lambda api: dict(api.inspect_container(container)))

    async def archive(self, container: str, path: str, limit: int) -> bytes:
        """A path of a container that does not run, as a tar. Raises MissingError."""
        return await self._call(lambda api: _read(api.get_archive(container, path)[0], limit))

    async def list_labelled(self, label: str) -> list[Mapping[str, Any]]:
        """All containers with this label (`name=value`), running or not."""
        found = {"label": [label]}
        return await self._call(lambda api: list(api.containers(all=True, filters=found)))

    async def remove(self, container: str) -> None:
        """Kill it and remove all of it; one that is not there any more is as good."""
        while True:
            try:
                await self._call(lambda api: _remove(api, container))
            except MissingError:
                return
            except InterruptedError:
                # somebody else is at it: it is over when they are done
                await asyncio.sleep(0.02)
            else:
                return

    def close(self) -> None:
        """Let the threads go once they are done; a later call starts none."""
        self._starts.shutdown(wait=False)
        self._others.shutdown(wait=False)
        if self._client:
            self._client.close()
        self._client = None

    async def _call(
        self, action: Callable[["APIClient"], T], threads: ThreadPoolExecutor | None = None
    ) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(threads or self._others, self._ask, action)

    def _ask(self, action: Callable[["APIClient"], T]) -> T:
        from docker.errors import APIError, DockerException
        from requests.exceptions import RequestException

        try:
            return action(self._connected())
        except APIError as error:
            raise _translated(int(error.status_code or 0), str(error.explanation)) from error
        except (DockerException, RequestException, OSError) as error:
            raise EngineGoneError(f"the Docker engine at {self.path} does not answer") from error

    def _connected(self) -> "APIClient":
        from app.sandbox.executors.docker.client import Client

        with self._lock:
            if self._client is None:
                self._client = Client(self.path, _TIMEOUT_S)
            return self._client


def _remove(api: "APIClient", container: str) -> None:
    """Kill, wait until the engine has noted the end, and only then remove.

    It notes an end, after it has told of it, while it holds the container: an answer about it comes
    afterwards. Of a container that was removed before, the note makes one that nobody can remove.
    """
    from docker.errors import APIError

    try:
        api.kill(container)
    except APIError as error:
        # it does not run
        if error.status_code != _CONFLICT:
            raise
    api.wait(container, timeout=_END_S)
    api.inspect_container(container)
    api.remove_container(container, v=True, force=True)


def _translated(status: int, told: str) -> Exception:
    if status == _MISSING:
        return MissingError(told)
    if status == _CONFLICT:
        return InterruptedError(told)
    is_runtime = "runtime" in told and any(mark in told for mark in _NO_RUNTIME)
    if status == _BAD_REQUEST or (status >= _FAULT and is_runtime):
        hint = "Use a newer Docker engine, or another runtime in UAOL_SANDBOX_RUNTIME."
        return IsolationError(f"The Docker engine refused: {told}", hint)
    return OSError(f"Docker: {told}")


def _read(chunks: Any, limit: int) -> bytes:
    data = bytearray()
    for chunk in chunks:
        data += chunk
        if len(data) > limit:
            raise OSError("the file is too large")
    return bytes(data)
