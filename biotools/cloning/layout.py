"""Candidate primer pairs around one cut, from primer3, in a fixed order (best penalty first).

primer3-py is GPL: it is imported in this tool-server process only, inside the function that needs
it.
"""

import re
import threading
from dataclasses import dataclass
from typing import Any

_OPTIONS: dict[str, Any] = {
    "PRIMER_TASK": "generic",
    "PRIMER_OPT_SIZE": 20,
    "PRIMER_MIN_SIZE": 18,
    "PRIMER_MAX_SIZE": 25,
    "PRIMER_OPT_TM": 60.0,
    "PRIMER_MIN_TM": 57.0,
    "PRIMER_MAX_TM": 63.0,
    "PRIMER_PAIR_MAX_DIFF_TM": 3.0,
    "PRIMER_MIN_GC": 30.0,
    "PRIMER_MAX_GC": 70.0,
    "PRIMER_MAX_POLY_X": 4,
    "PRIMER_MAX_NS_ACCEPTED": 0,
    # Spread the candidates: a neighbour of a primer that lies on a repeat lies on it as well.
    "PRIMER_MIN_LEFT_THREE_PRIME_DISTANCE": 6,
    "PRIMER_MIN_RIGHT_THREE_PRIME_DISTANCE": 6,
}
_PRIMER_MAX = 25
_PER_LAYOUT = 8
_NGS_SIZES = (150, 300)
_NGS_MARGIN = 50
# The C library keeps its thermodynamic tables in globals.
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Limits:
    """What a Sanger/T7E1 amplicon must satisfy, in bp. `offset`: least difference of fragments."""

    product_min: int
    product_max: int
    cut_margin: int
    offset: int = 50

    @property
    def short_arm_max(self) -> int:
        """Longest short arm: a third of the slack, so that both arms have room for primers."""
        return self.cut_margin + (self.product_max - self.offset - 2 * self.cut_margin) // 3


@dataclass(frozen=True, slots=True)
class Candidate:
    """One proposed pair; left_start/right_end in the record, Tm in deg C."""

    left: str
    right: str
    left_tm: float
    right_tm: float
    left_start: int
    right_end: int
    penalty: float

    @property
    def product_size(self) -> int:
        return self.right_end - self.left_start


def long_candidates(sequence: str, cut: int, limits: Limits) -> list[Candidate]:
    """Pairs whose product holds the cut off-centre, for the short arm on either side."""
    near = (limits.cut_margin, limits.short_arm_max)
    far = (limits.short_arm_max + limits.offset, limits.product_max - limits.cut_margin)
    sizes = (limits.product_min, limits.product_max)
    found = [
        candidate
        for arms in ((near, far), (far, near))
        for candidate in _propose(sequence, cut, arms, sizes)
        if _fits(candidate, cut, limits)
    ]
    return sorted(found, key=lambda one: (one.penalty, one.left_start, one.right_end))


def _fits(candidate: Candidate, cut: int, limits: Limits) -> bool:
    left, right = cut - candidate.left_start, candidate.right_end - cut
    return min(left, right) >= limits.cut_margin and abs(left - right) >= limits.offset


def ngs_candidates(sequence: str, cut: int) -> list[Candidate]:
    """Pairs for an amplicon of at most 300 bp with the cut 50 bp or more from both ends."""
    arm = (_NGS_MARGIN, _NGS_SIZES[1] - _NGS_MARGIN)
    found = _propose(sequence, cut, (arm, arm), _NGS_SIZES)
    limits = Limits(*_NGS_SIZES, _NGS_MARGIN, offset=0)
    return [candidate for candidate in found if _fits(candidate, cut, limits)]


def _propose(
    sequence: str, cut: int, arms: tuple[tuple[int, int], tuple[int, int]], sizes: tuple[int, int]
) -> list[Candidate]:
    """Ask primer3 for pairs whose outer ends lie within `arms` (least, most bp) of the cut."""
    import primer3

    (left_min, left_max), (right_min, right_max) = arms
    begin, end = max(0, cut - left_max), min(len(sequence), cut + right_max)
    left_size = cut - left_min + _PRIMER_MAX - begin
    right_begin = cut + right_min - _PRIMER_MAX
    if left_size < _PRIMER_MAX or end - right_begin < _PRIMER_MAX or end - begin < sizes[0]:
        return []
    regions = [[0, left_size, right_begin - begin, end - right_begin]]
    template = {
        "SEQUENCE_TEMPLATE": re.sub("[^ACGT]", "N", sequence[begin:end]),
        "SEQUENCE_PRIMER_PAIR_OK_REGION_LIST": regions,
    }
    options = {
        **_OPTIONS,
        "PRIMER_NUM_RETURN": _PER_LAYOUT,
        "PRIMER_PRODUCT_SIZE_RANGE": [list(sizes)],
    }
    with _lock:
        answer = primer3.design_primers(template, options)
    return [_candidate(answer, n, begin) for n in range(answer["PRIMER_PAIR_NUM_RETURNED"])]


def _candidate(answer: dict[str, Any], number: int, offset: int) -> Candidate:
    left, right = f"PRIMER_LEFT_{number}", f"PRIMER_RIGHT_{number}"
    return Candidate(
        left=answer[f"{left}_SEQUENCE"].upper(),
        right=answer[f"{right}_SEQUENCE"].upper(),
        left_tm=round(answer[f"{left}_TM"], 2),
        right_tm=round(answer[f"{right}_TM"], 2),
        left_start=answer[left][0] + offset,
        right_end=answer[right][0] + 1 + offset,
        penalty=round(answer[f"PRIMER_PAIR_{number}_PENALTY"], 6),
    )
