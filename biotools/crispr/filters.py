"""Why a guide is refused before any score: rules on its sequence and its place."""

import re
from dataclasses import dataclass
from enum import Enum


class Enzyme(Enum):
    """Type IIS enzymes that open the guide vectors."""

    BBSI = "BbsI"
    BSMBI = "BsmBI"
    BSAI = "BsaI"


_SITES = {
    Enzyme.BBSI: ("GAAGAC", "GTCTTC"),
    Enzyme.BSMBI: ("CGTCTC", "GAGACG"),
    Enzyme.BSAI: ("GGTCTC", "GAGACC"),
}
_POL3_STOP = "TTTT"
_HOMOPOLYMER = re.compile(r"([ACGT])\1{4}")
_FLANK_3 = "GTTT"


@dataclass(frozen=True, slots=True)
class Limits:
    """GC and window as fractions; the window is a part of the coding sequence from its start."""

    gc_min: float
    gc_max: float
    window_min: float
    window_max: float
    enzyme: Enzyme | None


@dataclass(frozen=True, slots=True)
class Facts:
    """What the rules look at; `cds_fraction` is the part of the coding sequence 5' of the cut."""

    spacer: str
    cds_fraction: float
    escapes_nmd: bool
    has_variant: bool
    has_context: bool


def refusals(facts: Facts, limits: Limits) -> list[str]:
    """The codes of all rules the guide breaks, in a fixed order."""
    spacer = facts.spacer
    gc = sum(base in "GC" for base in spacer) / len(spacer)
    broken = {
        "gc_low": gc < limits.gc_min,
        "gc_high": gc > limits.gc_max,
        "pol3_terminator": _POL3_STOP in spacer,
        "homopolymer": _HOMOPOLYMER.search(spacer) is not None,
        "enzyme_site": limits.enzyme is not None and has_site(spacer, limits.enzyme),
        "outside_window": not limits.window_min <= facts.cds_fraction <= limits.window_max,
        "nmd_escape": facts.escapes_nmd,
        "known_variant": facts.has_variant,
        "no_context": not facts.has_context,
    }
    return [code for code, is_broken in broken.items() if is_broken]


def has_site(spacer: str, enzyme: Enzyme) -> bool:
    """Whether the enzyme would cut the ligated insert: CACC, a G if needed, spacer, scaffold."""
    insert = "CACC" + ("" if spacer.startswith("G") else "G") + spacer + _FLANK_3
    return any(site in insert for site in _SITES[enzyme])
