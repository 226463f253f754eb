"""Finds the coding sequence of a gene in a record, from its annotation or a given location.

Coordinates are 0-based, half-open, on the forward strand; exons come in reading order and are
numbered 1, 2, ... among the coding exons.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from biotools.errors import ToolInputError
from biotools.locations import LOCATION_HINT, Span, parse_location
from biotools.params import Strand
from biotools.records import Record

if TYPE_CHECKING:
    from Bio.SeqFeature import SeqFeature

_MAX_NAMES = 40


@dataclass(frozen=True, slots=True)
class Exon:
    """A coding exon: bases [start, end) of the forward strand."""

    number: int
    start: int
    end: int

    @property
    def length(self) -> int:
        """Bases."""
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class Target:
    """A coding sequence. `phase_start` is the number of bases before its first whole codon."""

    gene: str
    strand: Strand
    exons: tuple[Exon, ...]
    sequence: str
    protein: str
    phase_start: int
    product: str | None
    protein_id: str | None
    note: str | None
    genetic_code: int

    @property
    def cds_length(self) -> int:
        """Coding bases, stop codon included."""
        return sum(exon.length for exon in self.exons)


def gene_names(record: Record) -> list[str]:
    """The genes that have a CDS in the record, in order, each once."""
    names = (_name(feature) for feature in _coding(record))
    return list(dict.fromkeys(name for name in names if name))


def find_target(record: Record, gene: str | None, location: str | None = None) -> Target:
    """The coding sequence of `gene`, or the one at `location` (which then wins).

    Errors: gene_not_found, no_coding_sequence, bad_location, invalid_argument.
    """
    if location is not None:
        return _build(record, parse_location(location), gene or "target", {}, None)
    if gene is None or not gene.strip():
        raise ToolInputError("invalid_argument", "No gene was named.", "Name a gene.")
    features = list(_coding(record))
    if not features:
        raise ToolInputError(
            "no_coding_sequence",
            f"Record {record.id} has no annotated coding sequence.",
            "Give the coding exons as a location, for example join(62187..62278,62409..62631).",
        )
    chosen, note = _choose(_matching(record, features, gene.strip()))
    return _build(record, _spans(chosen.location), _name(chosen), chosen.qualifiers, note)


def find_transcripts(record: Record, gene: str | None, location: str | None) -> list[list[Span]]:
    """The exons of every coding sequence of `gene`; a `location` is the only one.

    Exons on another record are left out. Errors: those of `find_target`.
    """
    if location is not None:
        return [parse_location(location)]
    found = _matching(record, list(_coding(record)), (gene or "").strip())
    return [_here(feature.location) for feature in found if feature.location is not None]


def _coding(record: Record) -> Iterator["SeqFeature"]:
    return (feature for feature in record.bio.features if feature.type == "CDS")


def _name(feature: "SeqFeature") -> str:
    return _first(feature.qualifiers, "gene") or _first(feature.qualifiers, "locus_tag") or ""


def _first(qualifiers: dict[str, Any], key: str) -> str | None:
    values = qualifiers.get(key)
    return str(values[0]) if values else None


def _matching(record: Record, features: list["SeqFeature"], gene: str) -> list["SeqFeature"]:
    for key in ("gene", "locus_tag"):
        exact = [f for f in features if gene in f.qualifiers.get(key, [])]
        if exact:
            return exact
    folded = [
        (name, feature)
        for feature in features
        for key in ("gene", "locus_tag")
        for name in feature.qualifiers.get(key, [])
        if name.casefold() == gene.casefold()
    ]
    if len({name for name, _ in folded}) == 1:
        return [feature for _, feature in folded]
    names = gene_names(record)
    shown = ", ".join(names[:_MAX_NAMES]) + (", ..." if len(names) > _MAX_NAMES else "")
    raise ToolInputError(
        "gene_not_found",
        f"Record {record.id} has no coding sequence of gene {gene!r}. It has: {shown or 'none'}.",
        "Name one of these genes, or give the coding exons as a location.",
    )


def _choose(features: list["SeqFeature"]) -> tuple["SeqFeature", str | None]:
    """The longest complete CDS; the note says what was passed over."""
    ranked = sorted(features, key=lambda f: (_is_whole(f), _span(f)), reverse=True)
    best = ranked[0]
    remarks = []
    if len(ranked) > 1:
        remarks.append(f"the longest complete of {len(ranked)} coding sequences was taken")
    if not _is_whole(best):
        remarks.append("the coding sequence is partial or a pseudogene")
    return best, "; ".join(remarks) or None


def _span(feature: "SeqFeature") -> int:
    return len(feature.location) if feature.location is not None else 0


def _is_whole(feature: "SeqFeature") -> bool:
    from Bio.SeqFeature import AfterPosition, BeforePosition

    location = feature.location
    ends = (location.start, location.end) if location is not None else ()
    fuzzy = any(isinstance(end, (BeforePosition, AfterPosition)) for end in ends)
    pseudo = "pseudo" in feature.qualifiers or "pseudogene" in feature.qualifiers
    return not fuzzy and not pseudo


def _spans(location: Any) -> list[Span]:
    """The spans of an annotated location, in reading order."""
    parts = list(location.parts) if location is not None else []
    if not parts or any(part.ref for part in parts):
        raise ToolInputError(
            "bad_location", "The coding sequence lies on another record.", LOCATION_HINT
        )
    return _here(location)


def _here(location: Any) -> list[Span]:
    return [
        Span(int(part.start), int(part.end), "-" if part.strand == -1 else "+")
        for part in location.parts
        if not part.ref
    ]


def _build(
    record: Record, spans: list[Span], gene: str, qualifiers: dict[str, Any], note: str | None
) -> Target:
    exons = _exons(record, spans)
    strand = spans[0].strand
    sequence = "".join(_reading(record, exon, strand) for exon in exons)
    phase_start = int(_first(qualifiers, "codon_start") or 1) - 1
    table = int(_first(qualifiers, "transl_table") or 1)
    protein = translated(sequence[phase_start:], table)
    stop = protein.find("*")
    if 0 <= stop < len(protein) - 1:
        note = "; ".join(filter(None, (note, f"there is a stop at codon {stop + 1}")))
    return Target(
        gene=gene,
        strand=strand,
        exons=exons,
        sequence=sequence,
        protein=protein.partition("*")[0],
        phase_start=phase_start,
        product=_first(qualifiers, "product"),
        protein_id=_first(qualifiers, "protein_id"),
        note=note,
        genetic_code=table,
    )


def _exons(record: Record, spans: list[Span]) -> tuple[Exon, ...]:
    if len({span.strand for span in spans}) > 1:
        raise ToolInputError("bad_location", "The coding sequence changes strand.", LOCATION_HINT)
    if any(span.end > len(record.sequence) for span in spans):
        raise ToolInputError(
            "bad_location",
            f"The location reaches outside the record (1..{len(record.sequence)}).",
            LOCATION_HINT,
        )
    return tuple(Exon(number, span.start, span.end) for number, span in enumerate(spans, 1))


def _reading(record: Record, exon: Exon, strand: Strand) -> str:
    bases = record.sequence[exon.start : exon.end]
    return bases if strand == "+" else reverse_complement(bases)


_COMPLEMENT = str.maketrans("ACGTRYSWKMBDHVN", "TGCAYRSWMKVHDBN")


def reverse_complement(sequence: str) -> str:
    """The other strand, 5' to 3'. Upper-case IUPAC letters."""
    return sequence.translate(_COMPLEMENT)[::-1]


def translated(sequence: str, table: int = 1) -> str:
    """Protein of the whole codons, stops as *. `table`: NCBI genetic code number."""
    from Bio.Data.CodonTable import ambiguous_generic_by_id
    from Bio.Seq import Seq

    if table not in ambiguous_generic_by_id:
        raise ToolInputError(
            "invalid_argument", f"There is no genetic code {table}.", "See NCBI's numbering."
        )
    whole = sequence[: len(sequence) // 3 * 3]
    translate: Any = Seq(whole).translate
    return str(translate(table=table))
