"""A task of five short steps that writes down each step it really does.

The trace drops a repeated line and the ledger a repeated row, so neither can show that a role
did its work twice. The log can.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

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

PRICE = 2_000_000
NAME = "tiny"
FILES = ["data.bin", "note.txt"]


class TinyInput(BaseModel):
    """`tools` are called by the coder, one per attempt of the job, the last one repeated."""

    model_config = ConfigDict(extra="forbid")

    note: str = "note"
    size: int = 2000
    tools: list[str] = []


def content(size: int) -> bytes:
    """What data.bin must hold."""
    return b"0123456789abcdef" * (size // 16)


@dataclass(frozen=True)
class Tiny:
    """The task's roles; `log` gets a line per step begun."""

    log: Path

    def _begin(self, ctx: RoleContext) -> None:
        descriptor = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{ctx.run.job.job_id} {ctx.role}\n")

    def steps(self, job_id: UUID) -> list[str]:
        """The roles that began their work on a job, in order, with repeats."""
        lines = [line.split() for line in self.log.read_text().splitlines()]
        return [role for job, role in lines if job == str(job_id)]

    async def plan(self, ctx: RoleContext, given: JSON) -> Plan:
        self._begin(ctx)
        return Plan("Write a note.", ["Write."], {"note": given["note"]})

    async def retrieve(self, ctx: RoleContext, state: RunState) -> Material:
        self._begin(ctx)
        return Material("Took the note.", {"note": state["plan"]["facts"]["note"]})

    async def compute(
        self, ctx: RoleContext, state: RunState, refusals: Sequence[Refusal]
    ) -> Draft:
        self._begin(ctx)
        tools = state["input"]["tools"]
        if tools:
            attempt: int = ctx.run.job.attempt  # type: ignore[attr-defined]
            name = tools[min(attempt, len(tools)) - 1]
            await ctx.call(name, {"text": "x"} if name.endswith(".echo") else {})
        return Draft("Wrote it.", {"text": state["material"]["note"]})

    async def evaluate(self, ctx: RoleContext, state: RunState) -> list[Check]:
        self._begin(ctx)
        is_same = state["draft"]["text"] == state["input"]["note"]
        return [Check("same", "passed" if is_same else "failed", "It is the note.", {})]

    async def report(self, ctx: RoleContext, state: RunState) -> Report:
        self._begin(ctx)
        note = state["draft"]["text"].encode()
        files = [
            RenderedFile("note.txt", "text/plain", note),
            RenderedFile("data.bin", "application/octet-stream", content(state["input"]["size"])),
        ]
        return Report("Filed it.", {"note": state["draft"]["text"]}, files)

    def template(self) -> TaskTemplate:
        return TaskTemplate(
            name=NAME,
            title="Tiny",
            description="Files a note.",
            version=1,
            price_micro=PRICE,
            input_model=TinyInput,
            policies=("plain",),
            plan=self.plan,
            retrieve=self.retrieve,
            compute=self.compute,
            evaluate=self.evaluate,
            report=self.report,
        )
