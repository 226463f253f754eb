"""A task's result in MCP's terms: structured for programs, text and pictures for models."""

import base64
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from app.proxy.types import RawResult
from app.sandbox import OutputFile, TaskResult, egress_summary

_SHOWN_CHARS = 100_000
_SHOWN_PICTURES = 20
_HEAD_BYTES = 4096
_PROLOG, _PROLOG_PARTS = ((b"<?", b"?>"), (b"<!--", b"-->"), (b"<!DOCTYPE", b">")), 4
# What no text column of PostgreSQL can hold, and what shows it.
_NUL, _NUL_SHOWN = "\x00", "\u2400"


def answer(result: TaskResult, picture_bytes: int) -> RawResult:
    """The tool's answer; at most `picture_bytes` of pictures are shown besides being files."""
    structured = {
        "status": result.status,
        "exit_code": result.exit_code,
        "stdout": _plain(result.stdout),
        "stderr": _plain(result.stderr),
        "is_stdout_truncated": result.is_stdout_truncated,
        "is_stderr_truncated": result.is_stderr_truncated,
        "value": None if result.value is None else _plain(result.value),
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
    pictures = _pictures(result, picture_bytes)
    return RawResult(structured=structured, content=[_text(result, len(pictures)), *pictures])


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


def picture_type(data: bytes) -> str | None:
    """The media type of a picture a client can show, by its first bytes; None for others."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    return "image/svg+xml" if _is_svg(data[:_HEAD_BYTES]) else None


def _is_svg(head: bytes) -> bool:
    """Whether the first element is `svg`, whatever stands before it (XML 1.0, section 2.8)."""
    head = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for start, end in _PROLOG * _PROLOG_PARTS:
        if head.startswith(start):
            head = head.partition(end)[2].lstrip()
    return head[:4] == b"<svg" and head[4:5] in (b" ", b"\n", b"\r", b"\t", b">", b"/")


def _file(file: OutputFile) -> dict[str, Any]:
    return {
        "name": file.name,
        "sha256": file.sha256,
        "size": file.size,
        "content_base64": base64.b64encode(file.content).decode(),
    }


def _pictures(result: TaskResult, room: int) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = []
    by_name = {file.name: file for file in result.files}
    for file in (by_name[name] for name in result.plots if name in by_name):
        media_type = picture_type(file.content)
        if media_type is None or file.size > room or len(shown) == _SHOWN_PICTURES:
            continue
        room -= file.size
        data = base64.b64encode(file.content).decode()
        shown.append({"type": "image", "data": data, "mimeType": media_type})
    return shown


def _text(result: TaskResult, pictures: int) -> dict[str, Any]:
    """What a notebook would show below the cell; of failed code its errors, too."""
    text = _joined(result.stdout, result.value or "")
    if result.status != "ok" or not text:
        text = _joined(text, result.stderr)
    notes = []
    if result.status != "ok":
        notes.append(f"The code ended with status {result.status}.")
    elif not text and not pictures:
        notes.append("The code ended with status ok and printed nothing.")
    if left := len(result.plots) - pictures:
        notes.append(f"{left} more of the {len(result.plots)} pictures are among the files.")
    if len(text) > _SHOWN_CHARS:
        text = text[:_SHOWN_CHARS]
        notes.append("The text was cut here; the structured result has more.")
    return {"type": "text", "text": _plain(_joined(text, *notes))}


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
