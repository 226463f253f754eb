"""Tool: every guide of a PAM whose cut lies in the coding sequence of a gene."""

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from biotools.crispr.filters import Enzyme, Limits, refusals
from biotools.errors import ToolInputError
from biotools.params import FilePath, Strand
from biotools.records import load_record
from biotools.targets import Target, find_target, reverse_complement

SPACER = 20
PAM = 3
CUT_FROM_PAM = 3
FLANK = 6
_IUPAC = {
    "A": "A", "C": "C", "G": "G", "T": "T", "R": "[AG]", "Y": "[CT]", "S": "[CG]", "W": "[AT]",
    "K": "[GT]", "M": "[AC]", "B": "[CGT]", "D": "[AGT]", "H": "[ACT]", "V": "[ACG]", "N": "[ACGT]",
}  # fmt: skip
Fraction = Annotated[float, Field(ge=0, le=1)]


class Guide(BaseModel):
    """One guide. Positions are 0-based on the forward strand; texts read on the guide's strand."""

    id: str
    spacer: str
    pam: str
    strand: Strand
    start: Annotated[int, Field(description="protospacer start")]
    end: Annotated[int, Field(description="protospacer end (exclusive)")]
    cut: Annotated[int, Field(description="the cut lies between bases cut - 1 and cut")]
    exon: Annotated[int, Field(description="number among the coding exons")]
    cds_offset: Annotated[int, Field(description="coding bases 5' of the cut")]
    cds_percent: float
    phase: Annotated[int, Field(description="bases of the codon 5' of the cut: 0, 1 or 2")]
    gc: Annotated[float, Field(description="of the spacer, 0-1")]
    context: Annotated[str | None, Field(description="35 nt: 6 + spacer + PAM + 6, or null")]
    refused_because: list[str]


class Guides(BaseModel):
    """All guides of the gene, in order of cut; refused ones included, with the reasons."""

    gene: str
    record_id: str
    length: int
    cds_length: int
    pam: str
    guides: list[Guide]


def enumerate_guides(
    file: FilePath,
    gene: str,
    location: str | None = None,
    pam: Annotated[str, Field(pattern="^[ACGTRYSWKMBDHVN]{3}$")] = "NGG",
    enzyme: Literal["BbsI", "BsmBI", "BsaI"] | None = None,
    gc_min: Fraction = 0.30,
    gc_max: Fraction = 0.80,
    window_min: Fraction = 0.05,
    window_max: Fraction = 0.65,
) -> Guides:
    """List every SpCas9 guide whose cut falls inside a coding exon of the gene, both strands.

    The cut is 3 bp 5' of the PAM, and both bases beside it are coding. Windows with a base other
    than A, C, G, T are left out. A guide that breaks a rule stays in the list with its reasons:
    gc_low, gc_high, pol3_terminator (TTTT), homopolymer (5 or more), enzyme_site (with the
    oligo's flanks), outside_window (of the coding sequence), no_context (too near the end).
    """
    record = load_record(file)
    target = find_target(record, gene, location)
    limits = Limits(gc_min, gc_max, window_min, window_max, Enzyme(enzyme) if enzyme else None)
    found = [
        guide
        # A set: the searched stretches of neighbouring exons overlap.
        for site in set(_sites(record.sequence, pam, target))
        if (guide := _guide(record.sequence, target, limits, *site)) is not None
    ]
    if not found:
        raise ToolInputError(
            "no_pam_site",
            f"The coding sequence of {target.gene} has no {pam} site on either strand.",
            "Try another PAM, or another gene.",
        )
    found.sort(key=lambda guide: (guide.cut, guide.strand))
    for number, guide in enumerate(found, 1):
        guide.id = f"g{number:03d}"
    return Guides(
        gene=target.gene,
        record_id=record.id,
        length=len(record.sequence),
        cds_length=target.cds_length,
        pam=pam,
        guides=found,
    )


def _sites(sequence: str, pam: str, target: Target) -> Iterator[tuple[int, Strand]]:
    """Protospacer start and strand of each site that can cut in the gene's span."""
    pattern = "".join(_IUPAC[letter] for letter in pam)
    reverse = "".join(_IUPAC[letter] for letter in reverse_complement(pam))
    plus = re.compile(f"(?=[ACGT]{{{SPACER}}}{pattern})")
    minus = re.compile(f"(?={reverse}[ACGT]{{{SPACER}}})")
    for exon in target.exons:
        low = max(0, exon.start - SPACER - PAM)
        high = min(len(sequence), exon.end + SPACER + PAM)
        for match in plus.finditer(sequence, low, high):
            yield match.start(), "+"
        for match in minus.finditer(sequence, low, high):
            yield match.start() + PAM, "-"


def _guide(
    sequence: str, target: Target, limits: Limits, start: int, strand: Strand
) -> Guide | None:
    end = start + SPACER
    cut = end - CUT_FROM_PAM if strand == "+" else start + CUT_FROM_PAM
    place = _coding_place(target, cut)
    if place is None:
        return None
    exon, offset = place
    before, after = (FLANK, PAM + FLANK) if strand == "+" else (PAM + FLANK, FLANK)
    window = sequence[max(0, start - before) : end + after]
    read = window if strand == "+" else reverse_complement(window)
    whole = start >= before and end + after <= len(sequence) and set(read) <= set("ACGT")
    own = sequence[start : end + PAM] if strand == "+" else sequence[start - PAM : end]
    site = own if strand == "+" else reverse_complement(own)
    spacer = site[:SPACER]
    return Guide(
        id="",
        spacer=spacer,
        pam=site[SPACER:],
        strand=strand,
        start=start,
        end=end,
        cut=cut,
        exon=exon,
        cds_offset=offset,
        cds_percent=round(100 * offset / target.cds_length, 3),
        phase=(offset - target.phase_start) % 3,
        gc=sum(base in "GC" for base in spacer) / SPACER,
        context=read if whole else None,
        refused_because=refusals(spacer, offset / target.cds_length, whole, limits),
    )


def _coding_place(target: Target, cut: int) -> tuple[int, int] | None:
    """Exon number and coding bases 5' of the cut, if both bases beside it are in one exon."""
    passed = 0
    for exon in target.exons:
        if exon.start < cut < exon.end:
            inside = cut - exon.start if target.strand == "+" else exon.end - cut
            return exon.number, passed + inside
        passed += exon.length
    return None
