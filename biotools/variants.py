"""Reads known variants: a position of the record, the bases there, and what stands instead."""

import re
from typing import Annotated

from pydantic import Field

from biotools.errors import ToolInputError
from biotools.records import Record

Variant = Annotated[
    str,
    Field(
        pattern="^[1-9][0-9]{0,8}[ACGTacgt]{1,50}>[ACGTacgt]{1,50}$",
        description="position in the record from 1, bases there > bases instead: 62205A>G",
    ),
]
_PARTS = re.compile(r"(\d+)([ACGTacgt]+)>[ACGTacgt]+")


def variant_spans(record: Record, variants: list[str]) -> list[tuple[int, int]]:
    """The bases that each variant changes, 0-based half-open on the forward strand.

    Errors: bad_location, where the record has other bases than the variant says.
    """
    return [_span(record, variant) for variant in variants]


def _span(record: Record, variant: str) -> tuple[int, int]:
    match = _PARTS.fullmatch(variant)
    if match is None:
        raise ToolInputError("bad_location", f"The variant {variant[:60]!r} cannot be read.", _HINT)
    start, bases = int(match[1]) - 1, match[2].upper()
    found = record.sequence[start : start + len(bases)]
    if found != bases:
        said = f"the record has {found} there" if found else "it lies outside the record"
        raise ToolInputError(
            "bad_location",
            f"The variant {variant} does not fit {record.id}: {said}.",
            _HINT,
        )
    return start, start + len(bases)


_HINT = "Count from 1 in this very record, on its forward strand; for example 62205A>G."
