"""`sandbox.run_python` as a built-in tool: a call becomes a task, its result an answer."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from app.kernel.errors import AppError, Code
from app.kernel.ids import new_id
from app.kernel.settings import Settings
from app.proxy.backends import BuiltinTool
from app.proxy.run_python.answers import answer
from app.proxy.run_python.inputs import input_files
from app.proxy.run_python.progress import follow
from app.proxy.run_python.schema import INPUT, OUTPUT, describe
from app.proxy.telling import teller
from app.proxy.types import RawResult, ToolCall
from app.registry import ToolDefinition
from app.sandbox import (
    InputFile,
    Limits,
    Sandbox,
    Sandboxing,
    TaskResult,
    TaskSpec,
    installed_science,
)

# What starting and clearing away may take on top of the code's own wall time.
_OVERHEAD_S = 30.0
_OUTPUT_LIMIT = 32 * 2**20


class _RunPython:
    """Carries out the calls. `output_limit` is the largest answer in bytes of JSON."""

    def __init__(self, sandbox: Sandbox, output_limit: int) -> None:
        self._sandbox = sandbox
        self._output_limit = output_limit

    async def __call__(self, call: ToolCall, arguments: dict[str, Any]) -> RawResult:
        """One call. Raises the sandbox's errors; what the code does wrong is in the answer."""
        with input_files(arguments.get("input_files", ())) as files:
            spec = self._spec(call, arguments, files)
            try:
                result = await self._carry(spec)
            except asyncio.CancelledError:
                await self._sandbox.cancel(spec.task_id)
                raise
        if result.status == "infra_error":
            raise AppError(
                Code.SANDBOX_FAILED,
                f"The sandbox failed: {result.stderr[:500] or 'no reason was given'}",
                hint="Try again; `uaol doctor` tests the sandbox.",
            )
        return answer(spec, result, self._output_limit, self._sandbox.new_limits().wall_s)

    async def _carry(self, spec: TaskSpec) -> TaskResult:
        if (tell := teller()) is None:
            return await self._sandbox.run(spec)
        async with aclosing(self._sandbox.stream(spec)) as events:
            return await follow(events, tell)

    def _spec(
        self, call: ToolCall, arguments: dict[str, Any], files: tuple[InputFile, ...]
    ) -> TaskSpec:
        return TaskSpec(
            task_id=str(new_id()),
            code=arguments["code"],
            requirements=tuple(arguments.get("requirements", ())),
            input_files=files,
            limits=self._limits(call, arguments),
            egress=arguments.get("egress"),
            session_id=arguments.get("session_id"),
            owner=_owner(call),
        )

    def _limits(self, call: ToolCall, arguments: dict[str, Any]) -> Limits:
        asked = [each for each in (call.timeout_s, arguments.get("timeout_s")) if each is not None]
        limits = self._sandbox.new_limits(wall_s=min(asked, default=None))
        # In base64 the files take half of an answer, pictures a sixth; the rest is for text.
        most = self._output_limit * 3 // 8
        return replace(limits, output_bytes=min(limits.output_bytes, most))


def sandbox_tool(
    sandbox: Sandbox,
    *,
    price_micro: int = 0,
    output_limit: int = _OUTPUT_LIMIT,
    notes: Sequence[str] = (),
    is_open: bool = False,
) -> BuiltinTool:
    """`sandbox.run_python` on this sandbox; its time limit is the sandbox's own and a margin.

    `notes` are sentences for its description; `is_open` says that code may reach other hosts.
    """
    limits = sandbox.new_limits()

    def about() -> str:
        status = sandbox.status()
        there = installed_science(sandbox.capabilities().distributions) if status.available else []
        return describe(status, there, limits, notes, is_open=is_open)

    definition = ToolDefinition(
        server="sandbox",
        name="run_python",
        description=about(),
        input_schema=INPUT,
        output_schema=OUTPUT,
        annotations={"readOnlyHint": True, "destructiveHint": False, "openWorldHint": is_open},
    )
    return BuiltinTool(
        definition,
        _RunPython(sandbox, output_limit),
        price_micro=price_micro,
        timeout_s=limits.wall_s,
        margin_s=_OVERHEAD_S,
        describe=about,
    )


def python_tool(sandboxing: Sandboxing, settings: Settings, *, price_micro: int) -> BuiltinTool:
    """`sandbox.run_python` as this process's settings have it."""
    return sandbox_tool(
        sandboxing.sandbox,
        price_micro=price_micro,
        output_limit=settings.tool_output_limit,
        notes=sandboxing.notes(),
        is_open=bool(sandboxing.policies),
    )


def _owner(call: ToolCall) -> str:
    """Who may name a session: a user, and in a job that job alone."""
    return f"{call.principal.user_id}:{call.job_id or ''}"
