"""Every text of a tool definition that a language model may be shown, with where it stands."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from app.registry.types import ToolDefinition

# Deeper, or more of them, is no definition that a person can have read.
MAX_DEPTH = 64
MAX_TEXTS = 20_000


class Text(NamedTuple):
    """A text and the JSON pointer (RFC 6901) of where it stands; keys of objects are texts too."""

    where: str
    text: str


class TooDeepError(Exception):
    """The definition is nested too deeply, or has too many texts, to be read."""


def texts(definition: ToolDefinition) -> Iterator[Text]:
    """All texts: names, descriptions, schemas, annotations, metadata. Raises `TooDeepError`."""
    for count, text in enumerate(_walk(definition.as_dict(), "", 0)):
        if count >= MAX_TEXTS:
            raise TooDeepError
        yield text


def _walk(value: Any, where: str, depth: int) -> Iterator[Text]:
    if depth > MAX_DEPTH:
        raise TooDeepError
    if isinstance(value, str):
        yield Text(where, value)
    elif isinstance(value, Mapping):
        for key, below in value.items():
            at = f"{where}/{_escaped(str(key))}"
            yield Text(at, str(key))
            yield from _walk(below, at, depth + 1)
    elif isinstance(value, list | tuple):
        for number, below in enumerate(value):
            yield from _walk(below, f"{where}/{number}", depth + 1)


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
