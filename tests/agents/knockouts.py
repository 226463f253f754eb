"""Runs the knockout in this process and gives what a caller would see of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import biotools
from app.agents import TaskRunner, Templates
from app.orchestration import Outcome
from tests.agents.contexts import Context, Files, Job, MemoryBlobs, MemoryLedger, Tool
from tests.agents.real_tools import real_tools
from tests.manual_clock import ManualClock

JSON = dict[str, Any]
SAMPLES = Path(biotools.__file__).parent / "samples"
HBB_RECORD = SAMPLES / "human_HBB_region_U01317.gb"


def sequence_of(genbank: Path) -> str:
    """Upper-case bases of a GenBank file, read without any library."""
    origin = genbank.read_text().split("\nORIGIN", 1)[1].split("\n//")[0]
    return "".join(letter for letter in origin.upper() if letter in "ACGTN")


@dataclass
class Run:
    """A finished run: its outcome, its trace and its files by name."""

    outcome: Outcome
    ctx: Context
    ledger: MemoryLedger
    files: dict[str, bytes]

    @property
    def report(self) -> JSON:
        loaded: JSON = json.loads(self.files["report.json"])
        return loaded


@dataclass
class Bench:
    """One job of the knockout, run by as many workers as a test wants."""

    ctx: Context
    ledger: MemoryLedger
    blobs: MemoryBlobs
    runner: TaskRunner

    async def run(self) -> Run:
        outcome = await self.runner.run(self.ctx)
        files = {one.name: self.blobs.data[one.blob.sha256] for one in outcome.files}
        return Run(outcome, self.ctx, self.ledger, files)


def bench(
    record: Path = HBB_RECORD,
    backgrounds: tuple[Path, ...] = (),
    policies: tuple[str, ...] = (),
    tools: Mapping[str, Tool] | None = None,
    file_id: int = 1000,
    **given: Any,
) -> Bench:
    """A job for HBB unless `given` says otherwise; `tools` replaces some of the real ones."""
    files = Files(first=file_id)
    raw = {"record": files.add(record), "gene": "HBB", **given}
    raw["backgrounds"] = [files.add(path) for path in backgrounds]
    template = Templates().get("crispr_knockout")
    job = Job({"template": template.name, "version": 1, "input": template.validate(raw)})
    ctx = Context(job, {**real_tools(files), **(tools or {})})
    ledger, blobs = MemoryLedger(), MemoryBlobs()
    runner = TaskRunner(
        Templates(), blobs.put, clock=ManualClock(), ledger=ledger, coder_policies=policies
    )
    return Bench(ctx, ledger, blobs, runner)


def tampered(name: str, change: Any) -> dict[str, Tool]:
    """The real tool, whose answer `change` alters in place: a coder's tool with a fault."""
    honest = real_tools(_SHARED)[name]

    def call(arguments: JSON) -> JSON:
        answer = honest(arguments)
        change(answer)
        return answer

    return {name: call}


_SHARED = Files()
_SHARED.add(HBB_RECORD)  # the first file of any bench has this id as well
