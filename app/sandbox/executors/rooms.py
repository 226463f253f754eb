"""Which room a task gets: the one it would share with others like it, or one of its own."""

from dataclasses import dataclass, field
from pathlib import Path

from app.kernel.errors import AppError, Code
from app.sandbox.furnishing import Egress, Layers, Say
from app.sandbox.layers import check_installed
from app.sandbox.links import Mounted, Room
from app.sandbox.pool import Kind, PoolPlan, Wanted, choose, kinds_of
from app.sandbox.sessions import SessionPlan
from app.sandbox.types import Capabilities, Limits, TaskSpec

# Space in a waiting worker's `/task` for the input files of a task that is not known yet.
_INPUT_BYTES = 64 * 2**20
NEW_FOLDER = Path("/run/egress")
"""Stands in a room for the folder that each of its sandboxes gets for itself when it starts."""


@dataclass(frozen=True)
class Options:
    """How an executor is run. Waiting workers are made for `limits`; `volumes` are in every room.

    A task whose limits on memory, processes or space differ starts a sandbox of its own.
    """

    limits: Limits = field(default_factory=Limits)
    pool: PoolPlan = field(default_factory=PoolPlan)
    sessions: SessionPlan = field(default_factory=SessionPlan)
    volumes: tuple[Mounted, ...] = ()


@dataclass(frozen=True)
class Extras:
    """What one task's room has beyond the usual."""

    mounts: tuple[Mounted, ...] = ()
    sites: tuple[str, ...] = ()
    is_open: bool = False


class Rooms:
    """Makes rooms for the tasks of one executor."""

    def __init__(self, options: Options, layers: Layers | None, egress: Egress | None) -> None:
        self._options, self._layers, self._egress = options, layers, egress
        self._kinds: dict[tuple[str, str], tuple[Kind, ...]] = {}

    async def extras(self, spec: TaskSpec, known: Capabilities, say: Say | None) -> Extras:
        """Its packages, and whether it needs a way out; `say` hears of progress.

        Raises AppError: INVALID_INPUT, SANDBOX_REQUIREMENT_UNKNOWN, and what layers raise.
        """
        is_open = spec.egress is not None
        if spec.egress is not None:
            self._check_policy(spec.egress)
        if self._layers is None:
            check_installed(spec.requirements, known)
        elif spec.requirements:
            prepared = await self._layers.room_for(spec.requirements, known, say)
            return Extras(prepared.mounts, prepared.sites, is_open)
        return Extras(is_open=is_open)

    def _check_policy(self, name: str) -> None:
        if self._egress is None:
            raise AppError(
                Code.INVALID_INPUT,
                f"There is no egress policy {name[:64]!r}: this server has none.",
                hint="Run without `egress`, and pass what the code needs as input files.",
                details={"field": "egress"},
            )
        self._egress.policy(name)

    def standing(self, known: Capabilities) -> list[Wanted]:
        """The rooms to keep workers waiting in, whatever is asked for."""
        return [self._shared(kind, Extras()) for kind in self._kinds_in(known)]

    def shared(self, spec: TaskSpec, known: Capabilities, extras: Extras) -> Wanted | None:
        """The room that a waiting worker must have to do for this task; None if none can."""
        if not self._is_usual(spec):
            return None
        return self._shared(choose(spec.code, self._kinds_in(known)), extras)

    def own(self, spec: TaskSpec, extras: Extras) -> Room:
        """A room for this task alone. Its code imports what it needs by itself."""
        return Room(
            limits=spec.limits,
            work_bytes=spec.limits.tmp_bytes + input_bytes(spec),
            sites=extras.sites,
            mounts=(*self._options.volumes, *extras.mounts),
            egress=NEW_FOLDER if extras.is_open else None,
        )

    def _shared(self, kind: Kind, extras: Extras) -> Wanted:
        limits = self._options.limits
        room = Room(
            limits=limits,
            work_bytes=limits.tmp_bytes + _INPUT_BYTES,
            imports=kind.imports,
            sites=extras.sites,
            mounts=(*self._options.volumes, *extras.mounts),
            egress=NEW_FOLDER if extras.is_open else None,
        )
        name = "layer" if extras.sites else "egress" if extras.is_open else kind.name
        return Wanted(name, room, kind.idle_bytes)

    def _is_usual(self, spec: TaskSpec) -> bool:
        """Whether what is fixed when a sandbox starts is what this task asks for."""
        asked, usual = spec.limits, self._options.limits
        return (
            asked.memory_bytes == usual.memory_bytes
            and asked.processes == usual.processes
            and asked.tmp_bytes == usual.tmp_bytes
            and input_bytes(spec) <= _INPUT_BYTES
        )

    def _kinds_in(self, known: Capabilities) -> tuple[Kind, ...]:
        key = (known.executor, known.image)
        if key not in self._kinds:
            self._kinds = {key: kinds_of(known.distributions)}
        return self._kinds[key]


def input_bytes(spec: TaskSpec) -> int:
    """Bytes of the input files; one that is missing is reported when it is opened."""
    total = 0
    for item in spec.input_files:
        try:
            total += item.path.stat().st_size
        except OSError:
            continue
    return total
