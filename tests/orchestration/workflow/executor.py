"""A scripted executor: goes through a plan with answers given beforehand, in any order."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from app.orchestration.workflow import (
    Plan,
    ReadyStep,
    StepResult,
    WaitingStep,
    WorkflowEnd,
    advance,
    check,
)
from app.orchestration.workflow.stepping import Window

Step = ReadyStep | WaitingStep
Answer = Callable[[Step], StepResult]


def done(output: Any = None) -> StepResult:
    return StepResult("Success", output)


def failed(code: str = "tool_failed", message: str = "It broke.") -> StepResult:
    return StepResult("Failed", None, {"code": code, "message": message})


def plan_of(nodes: Mapping[str, Any], **more: Any) -> Plan:
    """A checked plan; every tool and template exists."""
    return check({"workflow": 1, "nodes": dict(nodes), **more}, tool=str, template=str)


def tool(after: list[str] | None = None, **more: Any) -> dict[str, Any]:
    return {"tool": "server.tool", **({"after": after} if after else {}), **more}


@dataclass
class Run:
    """What a run did: `given` are the steps in the order they were given out, `finished` in the
    order of their ends."""

    end: WorkflowEnd
    results: dict[str, StepResult]
    skipped: list[str]
    given: list[Step] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)

    @property
    def paths(self) -> list[str]:
        return [step.path for step in self.given]

    def step(self, path: str) -> Any:
        return next(step for step in self.given if step.path == path)


def run(
    plan: Plan,
    given_input: Any,
    answer: Answer | Mapping[str, Any],
    *,
    results: Mapping[str, StepResult] | None = None,
    random: Random | None = None,
    most: int | None = None,
) -> Run:
    """Run to the end; steps in flight end one at a time, in the order given or a random one.

    With `most`, no more steps than that are in flight.

    `answer` may be a table of outputs, or results, by path; a step not in it fails the test.
    """
    respond = answer if callable(answer) else _table(answer)
    known = dict(results or {})
    flying: dict[str, Step] = {}
    given: list[Step] = []
    finished: list[str] = []
    window = Window()
    for _ in range(20_000):
        if most is not None:
            window.most = max(0, most - len(flying))
        state = advance(plan, given_input, known, flying.keys(), window)
        if state.end is not None:
            return Run(state.end, known, state.skipped, given, finished)
        for step in (*state.ready, *state.waiting):
            assert step.path not in flying
            assert step.path not in known
            flying[step.path] = step
            given.append(step)
        assert flying, "nothing to do and no end"
        path = random.choice(sorted(flying)) if random else next(iter(flying))
        known[path] = respond(flying.pop(path))
        finished.append(path)
    raise AssertionError("no end in sight")


def _table(answers: Mapping[str, Any]) -> Answer:
    def respond(step: Step) -> StepResult:
        found = answers[step.path]
        return found if isinstance(found, StepResult) else done(found)

    return respond
