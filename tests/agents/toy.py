"""A task small enough to read: draw numbers until the evaluator likes one."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict

from app.agents import TaskTemplate
from app.agents.types import (
    JSON,
    Check,
    Draft,
    Material,
    Plan,
    Refusal,
    RenderedFile,
    Report,
    RoleContext,
    RunState,
)


class ToyInput(BaseModel):
    model_config = ConfigDict(extra="forbid")

    numbers: list[int]
    limit: int = 10


@dataclass
class Toy:
    """Each role calls the tool named after it; the coder takes the first number not refused."""

    seen: list[tuple[int, str, list[Refusal]]] = field(default_factory=list)

    async def plan(self, ctx: RoleContext, given: JSON) -> Plan:
        await ctx.call("toy.plan", {})
        return Plan("Take a number.", ["1. Take.", "2. Check."], {"count": len(given["numbers"])})

    async def retrieve(self, ctx: RoleContext, state: RunState) -> Material:
        await ctx.call("toy.retrieve", {})
        return Material("Nothing to gather.", {"numbers": state["input"]["numbers"]})

    async def compute(
        self, ctx: RoleContext, state: RunState, refusals: Sequence[Refusal]
    ) -> Draft:
        self.seen.append((ctx.attempt, ctx.policy, list(refusals)))
        await ctx.call("toy.compute", {})
        await ctx.call("toy.compute", {})
        out = {part for refusal in refusals for part in refusal.exclude}
        left = [n for n in state["material"]["numbers"] if str(n) not in out]
        if not left:
            why = {"code": "no_guide", "message": "No number is left.", "hint": "Give more."}
            return Draft("No number is left.", {}, why)
        return Draft(f"Took {left[0]}.", {"number": left[0]})

    async def evaluate(self, ctx: RoleContext, state: RunState) -> list[Check]:
        await ctx.call("toy.evaluate", {})
        number, limit = state["draft"]["number"], state["input"]["limit"]
        small = Check("small", "passed", "The number is small.", {"number": number})
        if number > limit:
            reason = f"{number} is above {limit}"
            small = Check("small", "failed", small.statement, small.figures, reason, [str(number)])
        absent = Check("asked_an_oracle", "not_run", "An oracle agrees.", {}, "there is no oracle")
        return [small, absent]

    async def report(self, ctx: RoleContext, state: RunState) -> Report:
        await ctx.call("toy.report", {})
        number = state["draft"]["number"]
        data = f"{number}\n".encode()
        return Report("Wrote it.", {"number": number}, [RenderedFile("n.txt", "text/plain", data)])

    def template(self, policies: tuple[str, ...] = ("plain",)) -> TaskTemplate:
        return TaskTemplate(
            name="toy",
            title="Toy",
            description="A number below a limit.",
            version=3,
            price_micro=1,
            input_model=ToyInput,
            policies=policies,
            plan=self.plan,
            retrieve=self.retrieve,
            compute=self.compute,
            evaluate=self.evaluate,
            report=self.report,
        )


TOOLS = {f"toy.{name}": dict for name in ("plan", "retrieve", "compute", "evaluate", "report")}
