"""Reads the how-tos: their code blocks by language, and values they leave to the reader."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "docs" / "howto"
PAGES = ("claude-desktop", "cursor", "nextjs", "vscode")
LOCAL = "http://127.0.0.1:8765"
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PLACE = re.compile(r"\$\{([^}]+)\}")
_FILE = re.compile(r"^`([^`]+\.tsx?)`", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its text, and the prose before it."""

    language: str
    text: str
    before: str


def blocks(page: str, language: str | None = None) -> list[Block]:
    """The fenced blocks of a page, in their order."""
    said, found, end = (FOLDER / f"{page}.md").read_text(encoding="utf-8"), [], 0
    for match in _BLOCK.finditer(said):
        found.append(Block(match[1], match[2], said[end : match.start()]))
        end = match.end()
    return [block for block in found if language in (None, block.language)]


def documents(page: str) -> list[dict[str, Any]]:
    """The JSON documents of a page. A key given twice is an error."""
    return [json.loads(block.text, object_pairs_hook=_unique) for block in blocks(page, "json")]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(pairs)) == len(pairs), f"a key is given twice: {pairs}"
    return dict(pairs)


def files(page: str) -> dict[str, str]:
    """The TypeScript files of a page, by the path that stands before each block."""
    return {_FILE.findall(block.before)[-1]: block.text for block in blocks(page, "ts")}


def filled(value: Any, places: dict[str, str]) -> Any:
    """A value with `${name}` replaced; a name without a value is a `KeyError`."""
    if isinstance(value, dict):
        return {key: filled(inner, places) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, places) for inner in value]
    if isinstance(value, str):
        return _PLACE.sub(lambda match: places[match[1]], value)
    return value
