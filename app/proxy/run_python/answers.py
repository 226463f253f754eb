"""A task's result in MCP's terms: structured for programs, text and pictures for models."""

import base64
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import orjson

from app.proxy.run_python.notes import notes
from app.proxy.run_python.pictures import pictures
from app.proxy.types import RawResult
from app.sandbox import OutputFile, TaskResult, TaskSpec, egress_summary

_SHOWN_CHARS = 100_000
_MOST_OF_TEXT, _LONGEST_ESCAPE = 16, 6
_CUT = "\n[... the structured result has what was left out here ...]\n"
# What no text column of PostgreSQL can hold, and what shows it.
_NUL, _NUL_SHOWN = "\x00", "\u2400"


def answer(spec: TaskSpec, result: TaskResult, output_limit: int, ceiling_s: float) -> RawResult:
    """The tool's answer, of at most `output_limit` bytes of JSON; `ceiling_s` is as in `notes`.

    Pictures are shown in an eighth of it besides being files. What was printed gets what is left:
    an answer that is too large would be refused after the code has run, and cost nothing.
    """
    shown = pictures(result, output_limit // 8)
    told = notes(spec, result, ceiling_s)
    most_chars = min(_SHOWN_CHARS, output_limit // _MOST_OF_TEXT // _LONGEST_ESCAPE)
    content = [_text(result, len(shown), told, most_chars), *shown]
    structured = _structured(result)
    room = output_limit - len(orjson.dumps([structured, content]))
    # Of what does not fit, the value and the errors come first.
    for name, share in (("value", room // 4), ("stderr", room // 2), ("stdout", room)):
        if (printed := getattr(result, name)) is None:
            continue
        text = _plain(printed)
        structured[name] = kept = _fitting(text, min(share, room))
        if name != "value":
            structured[f"is_{name}_truncated"] |= len(kept) < len(text)
        room -= _size(kept)
    return RawResult(structured=structured, content=content)


def _structured(result: TaskResult) -> dict[str, Any]:
    """All but the texts that may be long."""
    return {
        "status": result.status,
        "exit_code": result.exit_code,
        "stdout": "",
        "stderr": "",
        "is_stdout_truncated": result.is_stdout_truncated,
        "is_stderr_truncated": result.is_stderr_truncated,
        "value": None if result.value is None else "",
        "files": [_file(file) for file in result.files],
        "plots": list(result.plots),
        "dropped": [_plain(note) for note in result.dropped],
        "usage": asdict(result.usage),
        "executor": result.executor,
        "level": result.level,
        "is_warm": result.is_warm,
        "session_runs": result.session_runs,
        "egress": egress_summary(result.egress),
    }


def _fitting(text: str, room: int) -> str:
    """As much of the text's begin as takes at most `room` bytes, escaped."""
    while text and (size := _size(text)) > room:
        text = text[: len(text) * max(room, 0) // size * 9 // 10]
    return text


def _size(text: str) -> int:
    """Bytes of JSON that it adds where there was an empty text."""
    return len(orjson.dumps(text)) - 2


def isolation_of(tool: str, structured: Mapping[str, Any] | None) -> dict[str, str]:
    """What a call of a sandbox tool ran behind (`executor`, `level`); nothing for other tools."""
    if not tool.startswith("sandbox.") or structured is None:
        return {}
    found = {name: structured.get(name) for name in ("executor", "level")}
    return {name: value for name, value in found.items() if isinstance(value, str)}


def egress_of(tool: str, structured: Mapping[str, Any] | None) -> dict[str, Any]:
    """Where the code of a sandbox tool went or tried to (`egress`), for a trace; else nothing."""
    if not tool.startswith("sandbox.") or not structured or not structured.get("egress"):
        return {}
    return {"egress": structured["egress"]}


def _file(file: OutputFile) -> dict[str, Any]:
    return {
        "name": file.name,
        "sha256": file.sha256,
        "size": file.size,
        "content_base64": base64.b64encode(file.content).decode(),
    }


def _text(result: TaskResult, shown: int, told: list[str], most_chars: int) -> dict[str, Any]:
    """What a notebook would show below the cell; of failed code its errors, too."""
    text = _joined(result.stdout, result.value or "")
    if result.status != "ok" or not text:
        text = _joined(text, result.stderr)
    if result.status == "ok" and not text and not shown:
        told = ["The code ended with status ok and printed nothing.", *told]
    if left := len(result.plots) - shown:
        told = [*told, f"{left} more of the {len(result.plots)} pictures are among the files."]
    if len(text) > most_chars:
        # What ended the code stands last.
        text = text[: most_chars // 2] + _CUT + text[-most_chars // 2 :]
    return {"type": "text", "text": _plain(_joined(text, *told))}


def _plain(text: str) -> str:
    return text.replace(_NUL, _NUL_SHOWN)


def _joined(*parts: str) -> str:
    """The parts below each other; one alone stays as it is."""
    text = ""
    for part in parts:
        if text and part and not text.endswith("\n"):
            text += "\n"
        text += part
    return text
