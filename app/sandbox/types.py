"""The sandbox's values and its one seam: what a task is, what came of it, what an executor must do.

Sizes are bytes, times are seconds. Everything a task returns is untrusted: names and figures
were checked on the host, contents were not looked into.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

Status = Literal["ok", "error", "timeout", "oom", "output_limit", "killed", "infra_error"]
"""`infra_error` is the sandbox's own fault and never charged; every other one is the task's."""

SELF_TEST_ID = "self-test"


@dataclass(frozen=True)
class Limits:
    """What one task may use. `cpu_s` holds for each process; `memory_bytes` for each process and,
    where the executor does not call total memory best effort, for all of them together.
    """

    wall_s: float = 60.0
    cpu_s: int = 60
    memory_bytes: int = 2 * 2**30
    processes: int = 64
    output_bytes: int = 64 * 2**20
    stdout_bytes: int = 2**20
    files: int = 200
    tmp_bytes: int = 256 * 2**20


@dataclass(frozen=True)
class InputFile:
    """A host file that the task finds, read-only, as `/task/input/<name>`."""

    name: str
    path: Path


@dataclass(frozen=True)
class TaskSpec:
    """One task: Python source, the packages it needs, its input files and its limits.

    `egress` names a policy of the operator's; None is no network. Tasks of one `session_id` and
    one `owner` share a Python that keeps its variables; `owner` is who may name the session.
    """

    task_id: str
    code: str
    requirements: tuple[str, ...] = ()
    input_files: tuple[InputFile, ...] = ()
    limits: Limits = field(default_factory=Limits)
    egress: str | None = None
    session_id: str | None = None
    owner: str = ""


@dataclass(frozen=True)
class OutputFile:
    """A regular file the task left under `/task/output`; `name` is relative, with `/`."""

    name: str
    sha256: str
    size: int
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class Usage:
    """What the task used, for the meter. The peak is that of its largest process."""

    cpu_s: float = 0.0
    wall_s: float = 0.0
    peak_memory_bytes: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


EgressVerdict = Literal["allowed", "refused", "cut", "failed"]
"""Let through; against the policy; ended at a cap of the policy; the outside did not answer."""


@dataclass(frozen=True)
class EgressCall:
    """One connection that a task made, or tried to make, to the outside.

    Bytes are payload; `host` is empty where none could be read; `reason` is a stable code.
    """

    host: str
    port: int
    bytes_up: int
    bytes_down: int
    ms: int
    verdict: EgressVerdict
    reason: str = ""


@dataclass(frozen=True)
class TaskResult:
    """What came of a task. `dropped` says which outputs were refused, and why.

    `value` is the last expression as a notebook would show it; `plots` are the names of those
    `files` that are pictures the task showed. `level` is the isolation it ran behind.
    `session_runs` counts the runs of its session, this one too; 0 without a session.
    """

    status: Status
    exit_code: int | None = None
    stdout: str = ""
    stderr: str = ""
    is_stdout_truncated: bool = False
    is_stderr_truncated: bool = False
    files: tuple[OutputFile, ...] = ()
    dropped: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)
    executor: str = ""
    value: str | None = None
    plots: tuple[str, ...] = ()
    level: str = ""
    is_warm: bool = False
    egress: tuple[EgressCall, ...] = ()
    session_runs: int = 0


@dataclass(frozen=True)
class Printed:
    """Text the task wrote, as it came."""

    stream: Literal["stdout", "stderr"]
    text: str


@dataclass(frozen=True)
class Shown:
    """A picture or file the task showed before its end."""

    file: OutputFile


@dataclass(frozen=True)
class Ended:
    """The last event of every stream."""

    result: TaskResult


Event = Printed | Shown | Ended


@dataclass(frozen=True)
class Capabilities:
    """What an executor promises. `best_effort` names the limits it cannot enforce in full.

    `level` is one word for its walls, written to every run: `namespaces`, `container`, `gvisor`,
    `microvm`; `image` names what its Python lives in, so that a change of it is noticed.
    """

    executor: str
    isolation: tuple[str, ...]
    best_effort: tuple[str, ...]
    python: str
    distributions: Mapping[str, str] = field(repr=False)
    level: str = "namespaces"
    image: str = ""


@dataclass(frozen=True)
class Probe:
    """One question of the self-test and its answer."""

    name: str
    passed: bool
    detail: str = ""


@dataclass(frozen=True)
class SandboxStatus:
    """The self-test's verdict, shown by health, doctor and the tool's description."""

    available: bool
    executor: str | None = None
    reason: str = ""
    hint: str = ""
    probes: tuple[Probe, ...] = ()
    level: str = ""


class IsolationError(Exception):
    """An executor cannot isolate code on this machine; `hint` says what would change that."""

    def __init__(self, reason: str, hint: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hint = hint


class Executor(Protocol):
    """A way to run untrusted code behind walls. Every one passes the conformance suite."""

    name: str

    async def capabilities(self) -> Capabilities:
        """What it isolates and which distributions its Python can import.

        Raises IsolationError where it cannot work at all.
        """
        ...

    async def run(self, spec: TaskSpec) -> TaskResult:
        """Run one task in a sandbox of its own; never raises for what the code does.

        Raises IsolationError where it cannot work at all, AppError for a bad input file.
        """
        ...

    def stream(self, spec: TaskSpec) -> AsyncIterator[Event]:
        """As `run`, told as it happens; `Ended` comes last. Leaving it early kills the task."""
        ...

    async def cancel(self, task_id: str) -> None:
        """Kill a running task, whose `run` then returns `killed`; an unknown id is ignored."""
        ...

    async def close(self) -> None:
        """Kill what still runs and give back what `run` needed."""
        ...
