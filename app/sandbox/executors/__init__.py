"""The executors, one line each; `auto` tries those of `AUTO` in that order."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from app.kernel.clock import Clock, SystemClock
from app.kernel.errors import AppError, Code
from app.kernel.metrics import Metrics
from app.sandbox.executors.bubblewrap import bubblewrap_backends
from app.sandbox.executors.docker import docker_backend
from app.sandbox.executors.kubernetes import Site, kubernetes_backend
from app.sandbox.executors.pooled import PooledExecutor
from app.sandbox.executors.remote import RemoteExecutor
from app.sandbox.executors.rooms import Options
from app.sandbox.furnishing import Egress, Layers
from app.sandbox.links import Backend
from app.sandbox.types import Executor
from app.sandbox.wire import parse_address

__all__ = ["AUTO", "EXECUTORS", "Options", "PooledExecutor", "Setup", "make_executors"]


@dataclass(frozen=True)
class Setup:
    """What executors are made from. `layers` makes one for each, as each has its own Python.

    `root` is bubblewrap's system, `image`, `runtime` and `docker_socket` are Docker's, `site` is
    Kubernetes', `daemon` the address of a sandboxd, whose `token` is asked at each connection.
    """

    options: Options = field(default_factory=Options)
    root: Path | None = None
    image: str = ""
    runtime: str = ""
    docker_socket: str = ""
    site: Site = field(default_factory=Site)
    daemon: str = ""
    token: Callable[[], str | None] = lambda: None
    layers: Callable[[], Layers] | None = None
    egress: Egress | None = None
    clock: Clock = field(default_factory=SystemClock)
    metrics: Metrics = field(default_factory=Metrics)

    def pooled(self, backend: Backend) -> PooledExecutor:
        """The executor over a backend."""
        return PooledExecutor(
            backend,
            self.options,
            layers=self.layers() if self.layers else None,
            egress=self.egress,
            clock=self.clock,
            metrics=self.metrics,
        )


def _docker(setup: Setup) -> Sequence[Executor]:
    return [setup.pooled(docker_backend(setup.image, setup.runtime, setup.docker_socket))]


def _bubblewrap(setup: Setup) -> Sequence[Executor]:
    return [setup.pooled(backend) for backend in bubblewrap_backends(setup.root)]


def _kubernetes(setup: Setup) -> Sequence[Executor]:
    # a folder of this machine is none of the cluster's: packages are in the image there, and
    # nobody's socket leads out
    here = replace(setup, layers=None, egress=None)
    return [here.pooled(kubernetes_backend(setup.site))]


def _sandboxd(setup: Setup) -> Sequence[Executor]:
    return [RemoteExecutor(parse_address(setup.daemon), setup.token)]


EXECUTORS: Mapping[str, Callable[[Setup], Sequence[Executor]]] = {
    "docker": _docker,
    "bubblewrap": _bubblewrap,
    "kubernetes": _kubernetes,
    "sandboxd": _sandboxd,
}
AUTO = ("docker", "bubblewrap")


def make_executors(choice: str = "auto", setup: Setup | None = None) -> list[Executor]:
    """The executors `choice` stands for: all of `AUTO` for `auto`, else those of that name.

    Raises AppError(CONFIG_INVALID) for a name that is not registered.
    """
    if choice != "auto" and choice not in EXECUTORS:
        raise AppError(
            Code.CONFIG_INVALID,
            f"There is no sandbox executor named {choice!r}.",
            hint=f"Set UAOL_SANDBOX_EXECUTOR to auto or one of: {', '.join(EXECUTORS)}.",
        )
    names = AUTO if choice == "auto" else (choice,)
    return [one for name in names for one in EXECUTORS[name](setup or Setup())]
