"""What a run writes and what it finds of earlier runs: steps, waits, lines of the trace."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from app.billing import Usage
from app.orchestration.workflow.steps import StepResult, WaitingStep

RETRYING, STARTED = "step.retrying", "step.started"


@dataclass(slots=True)
class EndedStep:
    """A step that has ended, as it is stored; `attempt` is the try that gave the result.

    `body` is the output as JSON if it is known. `seq` and `started_seq` are the places of its
    lines in the trace, None for no line.
    """

    path: str
    result: StepResult
    attempt: int
    started_at: datetime
    ended_at: datetime
    body: bytes | None = None
    usage: Usage | None = None
    started_seq: int | None = None
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class PutOff:
    """A try that failed and is made again after `delay_s`; one that was not let in `counts` not."""

    path: str
    attempt: int
    delay_s: float
    error: Mapping[str, Any]
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the trace that no row of a step or a wait stands for."""

    seq: int
    kind: str
    data: Mapping[str, Any]
    once: str | None = None


@dataclass(frozen=True, slots=True)
class NewWait:
    """A wait that begins; `delay_s` counts from the transaction, a question may have none."""

    step: WaitingStep
    seq: int
    delay_s: float | None


@dataclass(frozen=True, slots=True)
class Park:
    """A lease given up before the end: ready again after `delay_s`, None for an answer's time.

    `is_failure` counts against the job's attempts.
    """

    delay_s: float | None
    is_failure: bool = False
    is_waiting: bool = False


@dataclass(frozen=True, slots=True)
class OpenWait:
    """A stored wait: seconds until it is due, None for never, and the answer if there is one."""

    path: str
    is_question: bool
    left_s: float | None
    is_answered: bool = False
    answer: Any = None


@dataclass(frozen=True, slots=True)
class Note:
    """What the trace says of a step that did not end: it started, or a try of it failed."""

    kind: str
    data: Mapping[str, Any]
    age_s: float


@dataclass(slots=True)
class Stored:
    """What earlier runs of a job have left; `seq` is the trace's last line, 1 the first."""

    results: dict[str, StepResult] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)
    waits: list[OpenWait] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    once: set[str] = field(default_factory=set)
    seq: int = 1


@dataclass(frozen=True, slots=True)
class Question:
    """An approval that waits for its user. `form` is the JSON Schema of the answer."""

    job_id: UUID
    path: str
    user_id: UUID
    title: str
    form: Mapping[str, Any]
    asked_at: datetime
    expires_at: datetime | None = None
    answered_at: datetime | None = None
    is_late: bool | None = None
