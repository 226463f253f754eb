"""Restriction digests and site searches with Bio.Restriction.

A cut is given as the 0-based index of the forward-strand base right behind it. A base outside
A, C, G, T is never read as part of a site.
"""

from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field

from biotools.errors import ToolInputError
from biotools.letters import check_dna, normalise
from biotools.params import FilePath
from biotools.records import load_record

if TYPE_CHECKING:
    from collections.abc import Iterable

Enzymes = Annotated[
    list[str],
    Field(min_length=1, max_length=100, description="names as in REBASE, e.g. EcoRI, BbsI"),
]
DnaText = Annotated[str, Field(min_length=1, max_length=10_000_000, description="IUPAC DNA")]


class EnzymeCuts(BaseModel):
    """Where one enzyme cuts."""

    enzyme: str
    recognition: str
    cuts: list[int] = Field(description="0-based forward index of the base right behind each cut")


class Fragment(BaseModel):
    """One fragment, 0-based half-open; start > end where it runs over a circle's origin."""

    start: int
    end: int
    length: int


class Digest(BaseModel):
    """The cuts of all enzymes together, and the fragments between them."""

    length: int
    circular: bool
    enzymes: list[EnzymeCuts]
    fragments: list[Fragment] = Field(description="in order of start; a cut circle may have one")


class SiteSearch(BaseModel):
    """Where each enzyme cuts, and which do not."""

    length: int
    circular: bool
    enzymes: list[EnzymeCuts]
    non_cutters: list[str]


def digest(
    enzymes: Enzymes,
    sequence: DnaText | None = None,
    file: FilePath | None = None,
    circular: bool | None = None,
) -> Digest:
    """Cut a sequence (or the record in `file`) with all enzymes at once; list the fragments.

    `circular` None takes the topology from the record (plain sequences and FASTA are linear).
    Errors: invalid_argument (unknown enzyme; not exactly one of sequence, file), loader errors.
    """
    dna, is_circle = _input(sequence, file, circular)
    found = _search(dna, is_circle, enzymes)
    cuts = sorted({cut for entry in found for cut in entry.cuts})
    return Digest(
        length=len(dna),
        circular=is_circle,
        enzymes=found,
        fragments=_fragments(cuts, len(dna), is_circle),
    )


def find_sites(
    enzymes: Enzymes,
    sequence: DnaText | None = None,
    file: FilePath | None = None,
    circular: bool | None = None,
) -> SiteSearch:
    """Find where each enzyme cuts a sequence (or the record in `file`).

    Arguments and errors as in `digest`.
    """
    dna, is_circle = _input(sequence, file, circular)
    found = _search(dna, is_circle, enzymes)
    non_cutters = [entry.enzyme for entry in found if not entry.cuts]
    return SiteSearch(length=len(dna), circular=is_circle, enzymes=found, non_cutters=non_cutters)


def _input(sequence: str | None, file: str | None, circular: bool | None) -> tuple[str, bool]:
    if (sequence is None) == (file is None):
        raise ToolInputError(
            "invalid_argument", "Give either `sequence` or `file`.", "Exactly one of the two."
        )
    if file is not None:
        record = load_record(file)
        declared = record.bio.annotations.get("topology") == "circular"
        return record.sequence, declared if circular is None else circular
    raw = normalise("".join((sequence or "").split()).encode("utf-8"))
    check_dna(raw, "`sequence`")
    return raw.decode("ascii"), bool(circular)


def _search(dna: str, circular: bool, enzymes: "Iterable[str]") -> list[EnzymeCuts]:
    from Bio.Seq import Seq

    text = Seq(dna)
    return [
        EnzymeCuts(
            enzyme=name,
            recognition=enzyme.site,
            cuts=sorted({(cut - 1) % len(dna) for cut in enzyme.search(text, linear=not circular)}),
        )
        for name, enzyme in ((name, _enzyme(name)) for name in dict.fromkeys(enzymes))
    ]


def _enzyme(name: str) -> Any:
    """Bio.Restriction's class for the enzyme; names are case-sensitive in REBASE."""
    from Bio import Restriction

    enzymes: Any = Restriction
    enzyme = getattr(enzymes, name, None)
    if enzyme is not None and enzyme in enzymes.AllEnzymes and not enzyme.is_unknown():
        return enzyme
    raise ToolInputError(
        "invalid_argument",
        f"There is no restriction enzyme {name!r} with a known cut.",
        "Use the REBASE spelling, e.g. EcoRI, HindIII, BbsI.",
    )


def _fragments(cuts: list[int], length: int, circular: bool) -> list[Fragment]:
    if not circular:
        edges = [0, *(cut for cut in cuts if cut), length]
        return [
            Fragment(start=start, end=end, length=end - start) for start, end in pairwise(edges)
        ]
    if not cuts:
        return [Fragment(start=0, end=length, length=length)]
    ends = [*cuts[1:], cuts[0]]
    return [
        Fragment(start=start, end=end, length=(end - start) % length or length)
        for start, end in zip(cuts, ends, strict=True)
    ]
