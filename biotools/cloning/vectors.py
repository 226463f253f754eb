"""The published cloning cassettes of the guide vectors, and the check of a user's plasmid."""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from biotools.errors import ToolInputError

# How much of the cassette a user's plasmid must share around each cut; far longer than any
# chance match in a plasmid, short enough to accept the promoter variants in circulation.
_ANCHOR = 19
_COMPLEMENT = str.maketrans("ACGTRYSWKMBDHVN", "TGCAYRSWMKVHDBN")


@dataclass(frozen=True, slots=True)
class Vector:
    """One vector's cassette, 5' to 3' on the guide's strand (see data/vectors.json)."""

    name: str
    full_name: str
    addgene_id: int
    enzyme: str
    recognition: str
    source: str
    u6_end: str
    left_site: str
    stuffer: str
    right_site: str
    scaffold: str
    note: str


def reverse_complement(sequence: str) -> str:
    """Reverse complement of upper-case IUPAC DNA."""
    return sequence.translate(_COMPLEMENT)[::-1]


@cache
def _vectors() -> dict[str, Vector]:
    text = files("biotools").joinpath("data", "vectors.json").read_text(encoding="utf-8")
    return {row["name"]: Vector(**row) for row in json.loads(text)["vectors"]}


def get_vector(name: str) -> Vector:
    """The vector of that name (case ignored). Errors: unknown_vector."""
    for known, vector in _vectors().items():
        if known.lower() == name.lower():
            return vector
    names = ", ".join(_vectors())
    raise ToolInputError(
        "unknown_vector", f"There is no vector {name!r}. Known: {names}.", f"Use one of {names}."
    )


def check_plasmid(vector: Vector, plasmid: str) -> None:
    """Refuse a plasmid (upper-case sequence, read as a circle) that cannot take the oligos.

    It must hold exactly two recognition sites of the enzyme, placed between the U6 promoter and
    the scaffold as published. Errors: vector_site_missing.
    """
    circle = plasmid + plasmid[: len(vector.u6_end)]
    inner = plasmid + plasmid[: len(vector.recognition) - 1]
    opposite = reverse_complement(vector.recognition)
    count = inner.count(vector.recognition) + inner.count(opposite)
    if count != 2:
        raise _site_missing(vector, f"it has {count} {vector.enzyme} sites instead of two")
    left = vector.u6_end[-_ANCHOR:] + vector.left_site
    right = vector.right_site + vector.scaffold[:_ANCHOR]
    if not any(
        left in strand and right in strand for strand in (circle, reverse_complement(circle))
    ):
        raise _site_missing(
            vector, f"its {vector.enzyme} sites do not lie between U6 promoter and gRNA scaffold"
        )


def _site_missing(vector: Vector, reason: str) -> ToolInputError:
    return ToolInputError(
        "vector_site_missing",
        f"The given plasmid cannot be used as {vector.name}: {reason}.",
        "Check that the file is the empty vector and that `vector` names it.",
    )
