"""What `sandbox.run_python` takes and gives, as JSON Schema, and how it is described."""

from collections.abc import Sequence
from typing import Any

from app.proxy.run_python.notes import size
from app.sandbox import Limits, SandboxStatus

_MAX_CODE = 1_000_000
_ABOUT = """\
Run Python in a sandbox{network}. Input files are in /task/input/<name>. Files written to
/task/output, the working directory, come back, and so do pictures that matplotlib or plotly show.
The value of a last expression is shown as in a notebook. With a `session_id` the next call of the
same id finds the variables of this one; `session_runs` 1 means that the session is new. Progress
carries what the code prints meanwhile.
The result's `status` says how the code ended: ok, error, timeout, oom, output_limit or killed."""

INPUT: dict[str, Any] = {
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
            "description": (
                "Packages by name, with versions if need be (PEP 508), as in biopython or "
                "polars>=1: not modules (Bio), not the standard library, no URLs, no extras. "
                "New ones are prepared first; where that takes long, the error says to call again."
            ),
        },
        "input_files": {
            "type": "array",
            "maxItems": 100,
            "default": [],
            "description": "Each has a name and one of file_id, content and content_base64.",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name"],
                "properties": {
                    "name": {
                        "type": "string",
                        "minLength": 1,
                        "maxLength": 200,
                        "description": "A plain name, without folders.",
                    },
                    "file_id": {
                        "type": "string",
                        "format": "file",
                        "description": "The id of an uploaded file.",
                    },
                    "content": {"type": "string", "description": "The file's text (UTF-8)."},
                    "content_base64": {"type": "string", "description": "The file's bytes."},
                },
            },
        },
        "session_id": {
            "type": "string",
            "minLength": 1,
            "maxLength": 100,
            "description": "A name of your choice; calls with it share one Python.",
        },
        "egress": {
            "type": "string",
            "minLength": 1,
            "maxLength": 100,
            "description": "Name of the allow-list of hosts the code may reach; default none.",
        },
        "timeout_s": {
            "type": "number",
            "exclusiveMinimum": 0,
            "description": "Wall time of the code, if less than the server's own limit.",
        },
    },
}

_FILE: dict[str, Any] = {
    "type": "object",
    "required": ["name", "sha256", "size", "content_base64"],
    "properties": {
        "name": {"type": "string"},
        "sha256": {"type": "string"},
        "size": {"type": "integer"},
        "content_base64": {"type": "string"},
    },
}

OUTPUT: dict[str, Any] = {
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
        "level",
        "is_warm",
        "value",
        "plots",
    ],
    "properties": {
        "status": {"type": "string"},
        "exit_code": {"type": ["integer", "null"]},
        "stdout": {"type": "string"},
        "stderr": {"type": "string"},
        "is_stdout_truncated": {"type": "boolean"},
        "is_stderr_truncated": {"type": "boolean"},
        "value": {
            "type": ["string", "null"],
            "description": "The last expression, as a notebook shows it.",
        },
        "files": {"type": "array", "items": _FILE},
        "plots": {
            "type": "array",
            "items": {"type": "string"},
            "description": "The names of those files that are pictures the code showed.",
        },
        "dropped": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Outputs that were refused, and why.",
        },
        "usage": {"type": "object"},
        "executor": {"type": "string"},
        "level": {"type": "string", "description": "The isolation the code ran behind."},
        "is_warm": {"type": "boolean"},
        "session_runs": {
            "type": "integer",
            "description": "Which run of its session this was; 0 without a session.",
        },
        "egress": {
            "type": "array",
            "items": {"type": "object"},
            "description": "Where the code went or tried to: host, port, verdict, reason and sums.",
        },
    },
}


def describe(
    status: SandboxStatus,
    installed: Sequence[str],
    limits: Limits,
    notes: Sequence[str],
    *,
    is_open: bool,
) -> str:
    """The tool's description, which says what isolates code on this machine right now."""
    said = [_ABOUT.format(network="" if is_open else " without network")]
    if status.available:
        said.append(f"Isolation here: {status.level} ({status.executor}).")
    else:
        said.append("Code cannot be isolated on this machine at present: every call is refused.")
    if installed:
        said.append(f"Installed: {', '.join(installed)}.")
    said.append(
        f"Limits: {limits.wall_s:g} seconds, {size(limits.memory_bytes)} of memory, "
        f"{size(limits.stdout_bytes)} printed."
    )
    said += [note for note in notes if note]
    return "\n".join(said)
