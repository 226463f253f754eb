"""Runs tasks: the job handler that walks a template through the five roles.

Every finished role is a row of `agent_runs` before the next one starts. A run that finds rows of
its job puts their outputs together and goes on at the role that comes next, so a killed worker
costs one role at most; that role's calls and events carry the keys of the first time.
"""

from collections.abc import Awaitable, Callable, Sequence

from app.agents.store import AgentRunStore
from app.agents.template import TaskTemplate
from app.agents.templates import Templates
from app.agents.types import JSON, RunContext, RunState
from app.agents.walk import RunLedger, Walk
from app.kernel.clock import Clock, SystemClock
from app.kernel.errors import AppError, Code, app_error
from app.orchestration import Artifact, Outcome
from app.storage import Blob

PutBytes = Callable[[bytes], Awaitable[Blob]]


class TaskRunner:
    """A `JobHandler` for jobs of kind `task`."""

    def __init__(
        self,
        templates: Templates,
        put_bytes: PutBytes,
        *,
        clock: Clock | None = None,
        ledger: RunLedger | None = None,
        coder_policies: Sequence[str] = (),
    ) -> None:
        """`coder_policies` replaces the templates' own, one per attempt, the last one repeated."""
        from app.agents.graph import RoleGraph  # a second to import, and only workers run tasks

        self._templates = templates
        self._put_bytes = put_bytes
        self._clock = clock or SystemClock()
        self._ledger = ledger or AgentRunStore()
        self._policies = tuple(coder_policies)
        self._graph = RoleGraph()

    async def run(self, ctx: RunContext) -> Outcome:
        """Run or resume the job's task to its end.

        Raises `template_unknown`, `conflict` (another version), `job_cancelled`, the input's
        errors, and whatever the tools and the lease raise.
        """
        template = self._template(ctx)
        policies = self._policies or template.policies
        walk = Walk(template, ctx, self._ledger, self._store, self._clock, policies)
        state = await walk.resume(RunState(input=dict(ctx.job.definition["input"])))
        return outcome_of(await self._graph.run(state, walk.step))

    def _template(self, ctx: RunContext) -> TaskTemplate:
        template = self._templates.get(ctx.job.definition["template"])
        asked = ctx.job.definition["version"]
        if asked != template.version:
            raise AppError(
                Code.CONFLICT,
                f"The job was made for version {asked} of {template.name}, "
                f"this server has version {template.version}.",
                hint="Submit the task again; nothing was charged for this one.",
            )
        return template

    async def _store(self, data: bytes) -> JSON:
        blob = await self._put_bytes(data)
        return {"sha256": blob.sha256, "size": blob.size}


def outcome_of(state: RunState) -> Outcome:
    """The end of a walk: a verdict that passed with its files, or why there is no result."""
    if state.get("verdict") == "passed" and state["last"] == "reporter":
        report = state["report"]
        files = [
            Artifact(Blob(one["sha256"], one["size"]), one["name"], one["media_type"])
            for one in report["files"]
        ]
        return Outcome(True, report["output"], None, files)
    return Outcome(False, {"verdict": "failed", "attempts": state["attempt"]}, _failure(state))


def _failure(state: RunState) -> AppError:
    """Why there is no result, with every check and refusal in `details`."""
    details: JSON = {"checks": state.get("checks", []), "refusals": state.get("refusals", [])}
    impossible = state.get("impossible")
    if impossible:
        error = app_error(impossible["code"], impossible["message"], impossible["hint"])
        error.details = {**details, "refused": impossible.get("refused", {})}
        return error
    reasons = "; ".join(state["refusals"][-1]["reasons"])
    return AppError(
        Code.CHECK_FAILED,
        f"The evaluator refused {state['attempt']} tries. The last one: {reasons}.",
        hint="The trace shows each check with its figures.",
        details=details,
    )
