"""Tool: every guide of a PAM whose cut lies in the coding sequence of a gene."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from biotools.crispr.filters import Enzyme, Facts, Limits, refusals
from biotools.crispr.gene_model import GeneModel
from biotools.errors import ToolInputError
from biotools.params import FilePath, Strand
from biotools.records import load_record
from biotools.targets import Target, find_target, find_transcripts, reverse_complement
from biotools.variants import Variant, variant_spans

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
    splice_distance: Annotated[
        int | None, Field(description="bp from the cut to the nearest splice site of the CDS")
    ]
    transcripts_hit: Annotated[int, Field(description="coding sequences of the gene it cuts")]
    gc: Annotated[float, Field(description="of the spacer, 0-1")]
    context: Annotated[str | None, Field(description="35 nt: 6 + spacer + PAM + 6, or null")]
    refused_because: list[str]


class Guides(BaseModel):
    """All guides of the gene, in order of cut; refused ones included, with the reasons."""

    gene: str
    record_id: str
    length: int
    cds_length: int
    transcripts: Annotated[int, Field(description="coding sequences of the gene in the record")]
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
    variants: list[Variant] | None = None,
) -> Guides:
    """List every SpCas9 guide whose cut falls inside a coding exon of the gene, both strands.

    The cut is 3 bp 5' of the PAM, and both bases beside it are coding. Windows with a base other
    than A, C, G, T are left out. A guide that breaks a rule stays in the list with its reasons:
    gc_low, gc_high, pol3_terminator (TTTT), homopolymer (5 or more), enzyme_site (with the
    oligo's flanks), outside_window (of the coding sequence), nmd_escape (last coding exon, or
    the 55 nt before it), known_variant (one of `variants` lies in protospacer or PAM), no_context
    (too near the end of the record).
    """
    record = load_record(file)
    target = find_target(record, gene, location)
    gene_model = GeneModel(target, find_transcripts(record, gene, location))
    limits = Limits(gc_min, gc_max, window_min, window_max, Enzyme(enzyme) if enzyme else None)
    variable = variant_spans(record, variants or [])
    found = [
        guide
        # A set: the searched stretches of neighbouring exons overlap.
        for start, strand in set(_sites(record.sequence, pam, target))
        if (guide := _guide(_Site(record.sequence, start, strand), gene_model, limits, variable))
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
        transcripts=len(gene_model.transcripts),
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


@dataclass(frozen=True, slots=True)
class _Site:
    """A protospacer with its PAM, read from the record."""

    sequence: str
    start: int
    strand: Strand

    @property
    def cut(self) -> int:
        inside = SPACER - CUT_FROM_PAM if self.strand == "+" else CUT_FROM_PAM
        return self.start + inside

    def span(self, flank: int = 0) -> tuple[int, int]:
        """Forward bases of protospacer and PAM, and of `flank` bases on either side."""
        before, after = (0, PAM) if self.strand == "+" else (PAM, 0)
        return self.start - before - flank, self.start + SPACER + after + flank

    def read(self, flank: int = 0) -> str | None:
        """The bases of the span on the guide's strand; null past an end or with other letters."""
        low, high = self.span(flank)
        if low < 0 or high > len(self.sequence):
            return None
        bases = self.sequence[low:high]
        if not set(bases) <= set("ACGT"):
            return None
        return bases if self.strand == "+" else reverse_complement(bases)


def _guide(
    site: _Site, gene_model: GeneModel, limits: Limits, variable: Sequence[tuple[int, int]]
) -> Guide | None:
    place, bases = gene_model.place(site.cut), site.read()
    if place is None or bases is None:
        return None
    spacer, context = bases[:SPACER], site.read(FLANK)
    low, high = site.span()
    target = gene_model.target
    facts = Facts(
        spacer=spacer,
        cds_fraction=place.offset / target.cds_length,
        escapes_nmd=place.escapes_nmd,
        has_variant=any(start < high and low < end for start, end in variable),
        has_context=context is not None,
    )
    return Guide(
        id="",
        spacer=spacer,
        pam=bases[SPACER:],
        strand=site.strand,
        start=site.start,
        end=site.start + SPACER,
        cut=site.cut,
        exon=place.exon,
        cds_offset=place.offset,
        cds_percent=round(100 * facts.cds_fraction, 3),
        phase=(place.offset - target.phase_start) % 3,
        splice_distance=place.splice_distance,
        transcripts_hit=place.transcripts_hit,
        gc=sum(base in "GC" for base in spacer) / SPACER,
        context=context,
        refused_because=refusals(facts, limits),
    )
