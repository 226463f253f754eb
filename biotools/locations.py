"""Reads GenBank location texts: spans, join or order, and complement, all on the record itself."""

import re
from typing import NamedTuple

from biotools.errors import ToolInputError
from biotools.params import Strand

LOCATION_HINT = (
    "Give a GenBank location, 1-based, for example join(62187..62278,62409..62631) or "
    "complement(100..399)."
)
_SPAN = re.compile(r"<?(\d{1,12})(?:\.\.>?(\d{1,12}))?")
_GROUP = re.compile(r"(complement|join|order)\((.*)\)")


class Span(NamedTuple):
    """Bases [start, end) of the forward strand, read on `strand`."""

    start: int
    end: int
    strand: Strand


def parse_location(text: str) -> list[Span]:
    """The spans of a location in reading order. Raises `bad_location`."""
    spans = _parse("".join(text.split()))
    if spans is None or any(span.start >= span.end or span.start < 0 for span in spans):
        raise ToolInputError(
            "bad_location", f"The location {text[:200]!r} cannot be read.", LOCATION_HINT
        )
    return spans


def _parse(text: str) -> list[Span] | None:
    if match := _SPAN.fullmatch(text):
        return [Span(int(match[1]) - 1, int(match[2] or match[1]), "+")]
    group = _GROUP.fullmatch(text)
    if group is None:
        return None
    if group[1] != "complement":
        parts = [_parse(part) for part in _split(group[2])]
        return [span for part in parts for span in part or []] if all(parts) else None
    inner = _parse(group[2])
    return None if inner is None else [_turned(span) for span in reversed(inner)]


def _turned(span: Span) -> Span:
    return span._replace(strand="-" if span.strand == "+" else "+")


def _split(text: str) -> list[str]:
    """Cut at the commas outside parentheses."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts
