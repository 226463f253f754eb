"""The tool `sandbox.run_python`: untrusted code behind the sandbox's walls."""

import asyncio
import base64
from dataclasses import asdict
from pathlib import Path
from typing import Any

from app.kernel.errors import AppError, Code
from app.kernel.ids import new_id
from app.proxy.backends import BuiltinTool
from app.proxy.types import RawResult, ToolCall
from app.registry import ToolDefinition
from app.sandbox import InputFile, Sandbox, TaskResult, TaskSpec

# What starting and clearing away may take on top of the code's own wall time.
_OVERHEAD_S = 30.0
_MAX_CODE = 1_000_000
_DESCRIPTION = """\
Run Python in a sandbox without network. Input files are in /task/input/<name>; files written to
/task/output come back. `requirements` are PEP 508 names of packages installed on this machine.
The result's `status` says how the code ended: ok, error, timeout, oom, output_limit or killed."""

_INPUT: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["code"],
    "properties": {
        "code": {"type": "string", "minLength": 1, "maxLength": _MAX_CODE},
        "requirements": {
            "type": "array",
            "maxItems": 50,
            "items": {"type": "string", "minLength": 1, "maxLength": 200},
            "default": [],
        },
        "input_files": {
            "type": "array",
            "maxItems": 100,
            "default": [],
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name", "file_id"],
                "properties": {
                    "name": {"type": "string", "minLength": 1, "maxLength": 200},
                    "file_id": {"type": "string", "format": "file"},
                },
            },
        },
    },
}

_OUTPUT: dict[str, Any] = {
    "type": "object",
    "required": [
        "status",
        "exit_code",
        "stdout",
        "stderr",
        "files",
        "dropped",
        "usage",
        "executor",
    ],
    "properties": {
        "status": {"type": "string"},
        "exit_code": {"type": ["integer", "null"]},
        "stdout": {"type": "string"},
        "stderr": {"type": "string"},
        "files": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name", "sha256", "size", "content_base64"],
                "properties": {
                    "name": {"type": "string"},
                    "sha256": {"type": "string"},
                    "size": {"type": "integer"},
                    "content_base64": {"type": "string"},
                },
            },
        },
        "dropped": {"type": "array", "items": {"type": "string"}},
        "usage": {"type": "object"},
        "executor": {"type": "string"},
    },
}


def sandbox_tool(sandbox: Sandbox, *, price_micro: int = 0) -> BuiltinTool:
    """`sandbox.run_python` on this sandbox; its time limit is the sandbox's own and a margin."""

    async def run(call: ToolCall, arguments: dict[str, Any]) -> RawResult:
        return await _run(sandbox, call, arguments)

    definition = ToolDefinition(
        server="sandbox",
        name="run_python",
        description=_DESCRIPTION,
        input_schema=_INPUT,
        output_schema=_OUTPUT,
        annotations={"readOnlyHint": True, "destructiveHint": False, "openWorldHint": False},
    )
    return BuiltinTool(
        definition,
        run,
        price_micro=price_micro,
        timeout_s=sandbox.new_limits().wall_s,
        margin_s=_OVERHEAD_S,
    )


async def _run(sandbox: Sandbox, call: ToolCall, arguments: dict[str, Any]) -> RawResult:
    spec = TaskSpec(
        task_id=str(new_id()),
        code=arguments["code"],
        requirements=tuple(arguments.get("requirements", ())),
        input_files=tuple(
            InputFile(item["name"], Path(item["file_id"]))
            for item in arguments.get("input_files", ())
        ),
        limits=sandbox.new_limits(wall_s=call.timeout_s),
    )
    try:
        result = await sandbox.run(spec)
    except asyncio.CancelledError:
        await sandbox.cancel(spec.task_id)
        raise
    if result.status == "infra_error":
        raise AppError(
            Code.SANDBOX_FAILED,
            f"The sandbox failed: {result.stderr[:500] or 'no reason was given'}",
            hint="Try again; `uaol doctor` tests the sandbox.",
        )
    return _answer(result)


def _answer(result: TaskResult) -> RawResult:
    structured = {
        "status": result.status,
        "exit_code": result.exit_code,
        "stdout": result.stdout,
        "stderr": result.stderr,
        "files": [
            {
                "name": file.name,
                "sha256": file.sha256,
                "size": file.size,
                "content_base64": base64.b64encode(file.content).decode(),
            }
            for file in result.files
        ],
        "dropped": list(result.dropped),
        "usage": asdict(result.usage),
        "executor": result.executor,
    }
    text = result.stdout or result.stderr or f"The code ended with status {result.status}."
    return RawResult(structured=structured, content=[{"type": "text", "text": text}])
