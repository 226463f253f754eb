"""What stepping takes and gives: results of steps, steps to be done, the end of a workflow.

A step's path is its node's name; in a map the item's position is added, `align[3]`, and in a
map's sub-definition the name in there, `align[3].score`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from app.orchestration.workflow.definition import Retry

StepStatus = Literal["Success", "Failed", "Skipped"]


@dataclass(frozen=True, slots=True)
class StepResult:
    """A finished step. `error` is an error's JSON form, `errors` those of a map's items."""

    status: StepStatus
    output: Any = None
    error: Mapping[str, Any] | None = None
    errors: Sequence[Mapping[str, Any]] | None = None

    def as_dict(self) -> dict[str, Any]:
        """What expressions see as `steps.<name>`, and what is stored."""
        body = {"status": self.status, "output": self.output, "error": self.error}
        return body if self.errors is None else {**body, "errors": list(self.errors)}

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> "StepResult":
        """The result that `as_dict` gave."""
        return cls(body["status"], body.get("output"), body.get("error"), body.get("errors"))


SKIPPED = StepResult("Skipped")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyStep:
    """A step that a worker may do now.

    `target` is the tool or the task template, None for a free task (then `task` has its words)
    and for the sandbox. `arguments` is the tool's arguments, the template's input, or
    `{code, requirements, input_files}`. `key` is the concurrency key.
    """

    path: str
    kind: Literal["tool", "agent", "sandbox"]
    target: str | None
    arguments: dict[str, Any]
    task: str | None = None
    key: str | None = None
    retry: Retry | None = None
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingStep:
    """A step that time or a person ends; the engine then gives its result.

    Exactly one of `seconds` (from when the step was first seen waiting), `until` (UTC) and
    `title` is there. With a title a person is asked; the answer, which fits `form`, is the
    output, and none within `timeout_s` seconds is a failure.
    """

    path: str
    seconds: float | None = None
    until: datetime | None = None
    title: str | None = None
    form: Mapping[str, Any] | None = None
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class WorkflowEnd:
    """The end. A failure's error has the failed step's path in `details.step`."""

    status: Literal["Success", "Failed"]
    output: Any = None
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Advance:
    """Where a workflow stands.

    `ready` and `waiting` are in the order of the graph; `skipped` are the paths of all steps
    skipped so far; `settled` are the results that follow from others, of branches, maps and
    steps whose expressions fail: they may be stored and given back, which saves work.
    """

    ready: list[ReadyStep]
    waiting: list[WaitingStep]
    skipped: list[str]
    settled: dict[str, StepResult]
    end: WorkflowEnd | None
