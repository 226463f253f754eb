"""Tool: microhomology around a cut and how often its repair shifts the frame.

Bae et al. 2014 (10.1038/nmeth.3015): each pair of equal stretches on both sides of the cut can be
joined by deleting what lies between them. A pattern of `length` bases with `gc` of them G or C,
that deletes d bases, scores 100 * exp(-d / 20) * (length + gc). The microhomology score is the sum
over all patterns, the out-of-frame score the percentage of it with d no multiple of three. As in
the paper, a pattern that is part of a longer one with the same deletion is not counted.
"""

import math
from typing import Annotated

from pydantic import BaseModel, Field

from biotools.errors import ToolInputError
from biotools.params import FilePath
from biotools.records import load_record

_DECAY = 20.0
_SHORTEST = 2
_REACH = 30


class Pattern(BaseModel):
    """Two equal stretches, `left` and `right` of the cut, and the deletion joining them makes."""

    homology: str
    left: Annotated[int, Field(description="0-based start of the left copy in the sequence")]
    right: Annotated[int, Field(description="0-based start of the right copy")]
    deletion: Annotated[int, Field(description="bases lost")]
    in_frame: bool
    score: float


class Frameshift(BaseModel):
    """Scores of one cut, with the patterns behind them, strongest first."""

    out_of_frame_score: Annotated[
        float | None, Field(description="0-100; null if there is no microhomology")
    ]
    microhomology_score: float
    patterns: list[Pattern]


def predict_frameshift(
    cut: Annotated[int, Field(ge=1, description="the cut lies between bases cut - 1 and cut")],
    sequence: Annotated[
        str | None, Field(pattern="^[ACGTacgt]+$", min_length=10, max_length=10000)
    ] = None,
    file: FilePath | None = None,
) -> Frameshift:
    """Predict the share of frame-shifting deletions from microhomology (Bae 2014).

    Give the `sequence`, or the record's `file`; `cut` is a place in it, on the forward strand.
    Looks at 30 bases on each side of the cut, as the paper does; fewer near an end, or near a
    letter other than A, C, G, T. The score is a prediction for microhomology-mediated repair
    only: small insertions are not modelled. Errors: invalid_argument, those of the file loader.
    """
    text = _text(sequence, file)
    if cut >= len(text):
        raise ToolInputError(
            "invalid_argument",
            f"The cut ({cut}) is not inside the sequence of {len(text)} bases.",
            "Give a cut from 1 to length - 1.",
        )
    patterns = _patterns(text, cut)
    total = sum(pattern.score for pattern in patterns)
    shifted = sum(pattern.score for pattern in patterns if not pattern.in_frame)
    return Frameshift(
        out_of_frame_score=round(100 * shifted / total, 6) if total else None,
        microhomology_score=round(total, 6),
        patterns=sorted(patterns, key=lambda p: (-p.score, p.left, p.right)),
    )


def _text(sequence: str | None, file: str | None) -> str:
    if sequence is not None and file is None:
        return sequence.upper()
    if file is not None and sequence is None:
        return load_record(file).sequence
    raise ToolInputError(
        "invalid_argument", "Exactly one of sequence and file is needed.", "Leave one of them out."
    )


def _window(text: str, cut: int) -> tuple[int, int]:
    """The bases looked at: 30 on each side, up to the first letter that is no base."""
    low, high = max(0, cut - _REACH), min(len(text), cut + _REACH)
    unknown = [at for at in range(low, high) if text[at] not in "ACGT"]
    return (
        max((at + 1 for at in unknown if at < cut), default=low),
        min((at for at in unknown if at >= cut), default=high),
    )


def _patterns(sequence: str, cut: int) -> list[Pattern]:
    """All longest microhomologies: both copies on their own side, no longer pair around them."""
    low, high = _window(sequence, cut)
    found = []
    for deletion in range(1, high - low):
        start = max(low, cut - deletion)
        for left, length in _runs(sequence, start, min(cut, high - deletion), deletion):
            homology = sequence[left : left + length]
            found.append(_pattern(homology, left, deletion))
    return found


def _runs(sequence: str, start: int, stop: int, shift: int) -> list[tuple[int, int]]:
    """Longest runs [left, left + length) in [start, stop) equal to themselves `shift` further."""
    runs, left = [], start
    for place in range(start, stop + 1):
        if place < stop and sequence[place] == sequence[place + shift]:
            continue
        if place - left >= _SHORTEST:
            runs.append((left, place - left))
        left = place + 1
    return runs


def _pattern(homology: str, left: int, deletion: int) -> Pattern:
    strength = len(homology) + sum(base in "GC" for base in homology)
    return Pattern(
        homology=homology,
        left=left,
        right=left + deletion,
        deletion=deletion,
        in_frame=deletion % 3 == 0,
        score=round(100 * round(math.exp(-deletion / _DECAY), 3) * strength, 6),
    )
