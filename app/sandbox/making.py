"""Makes the sandbox of a process from its settings: executors, packages, data sets, ways out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from app.kernel.errors import AppError, Code
from app.kernel.metrics import Metrics
from app.kernel.settings import Settings
from app.sandbox.egress import Egress, Policy, load_policies
from app.sandbox.executors import Options, Setup, make_executors
from app.sandbox.executors.kubernetes import site_of
from app.sandbox.layers import LayerLimits, Layers, open_sources
from app.sandbox.pool import PoolPlan
from app.sandbox.service import Sandbox
from app.sandbox.sessions import SessionPlan
from app.sandbox.types import Limits
from app.sandbox.volumes import Volumes, open_volumes
from app.sandbox.wire import token_of


@dataclass(frozen=True)
class Sandboxing:
    """The sandbox, and what its tasks may see and reach."""

    sandbox: Sandbox
    volumes: Volumes
    policies: tuple[str, ...]

    def notes(self) -> list[str]:
        """Sentences for who writes code for it."""
        names = ", ".join(self.policies)
        ways_out = f"No network, unless `egress` names a policy: {names}." if names else ""
        return [note for note in (ways_out, self.volumes.describe()) if note]


def make_sandbox(
    settings: Settings, metrics: Metrics | None = None, *, is_daemon: bool = False
) -> Sandboxing:
    """The sandbox of a process, not started yet; where there is a sandboxd, that one's.

    sandboxd itself asks for executors of its own with `is_daemon`. Raises AppError(CONFIG_INVALID).
    """
    limits = Limits(wall_s=settings.sandbox_wall_seconds, memory_bytes=settings.sandbox_memory)
    volumes = open_volumes(settings.sandbox_volumes, [settings.home])
    choice = _choice(settings, is_daemon=is_daemon)
    # below the home, which an engine beside us knows by the same path
    egress = Egress(_policies(settings, choice), root=settings.home / "egress")
    setup = Setup(
        options=_options(settings, limits, volumes),
        root=settings.sandbox_root,
        image=settings.sandbox_image,
        runtime=settings.sandbox_runtime,
        docker_socket=settings.sandbox_docker_socket,
        site=site_of(settings),
        daemon=settings.sandbox_daemon or "",
        token=token_of(settings.sandbox_daemon_token_file),
        layers=_layers(settings),
        egress=egress,
        metrics=metrics or Metrics(),
    )
    executors = make_executors(choice, setup)
    return Sandboxing(Sandbox(executors, limits, [egress]), volumes, egress.names())


def _choice(settings: Settings, *, is_daemon: bool) -> str:
    """A daemon never asks a daemon; everybody else asks the one there is, if none is named."""
    choice = settings.sandbox_executor
    if is_daemon:
        return "auto" if choice == "sandboxd" else choice
    return "sandboxd" if choice == "auto" and settings.sandbox_daemon else choice


def _policies(settings: Settings, choice: str) -> Mapping[str, Policy]:
    """Who may be reached: nobody from a cluster, whose nodes have none of our sockets."""
    if choice != "kubernetes":
        return load_policies(settings.sandbox_egress)
    if settings.sandbox_egress is not None:
        raise AppError(
            Code.CONFIG_INVALID,
            "The kubernetes executor has no network for tasks, so no egress policies either.",
            hint="Unset UAOL_SANDBOX_EGRESS, or choose the docker or bubblewrap executor.",
        )
    return {}


def _options(settings: Settings, limits: Limits, volumes: Volumes) -> Options:
    pool = PoolPlan(
        least=settings.sandbox_pool_least,
        most=settings.sandbox_pool_most,
        memory_bytes=settings.sandbox_pool_memory,
        idle_s=settings.sandbox_pool_idle_seconds,
    )
    sessions = SessionPlan(
        most=settings.sandbox_sessions,
        per_owner=settings.sandbox_sessions_per_user,
        idle_s=settings.sandbox_session_idle_seconds,
        lease_s=settings.sandbox_session_seconds,
    )
    return Options(limits, pool, sessions, volumes.mounts)


def _layers(settings: Settings) -> Callable[[], Layers]:
    """Makes the layers of one executor; all share a folder of the home."""
    index = settings.sandbox_index.get_secret_value() if settings.sandbox_index else None
    sources = open_sources(settings.sandbox_wheelhouse, index)
    limits = LayerLimits(kept=settings.sandbox_layers, layer_bytes=settings.sandbox_layer_bytes)
    return lambda: Layers(settings.home / "layers", sources, limits)
