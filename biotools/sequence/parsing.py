"""Tool: what a sequence file holds, and where a gene's coding exons lie."""

from typing import Annotated

from pydantic import BaseModel, Field

from biotools.params import FilePath, Strand
from biotools.records import load_record
from biotools.targets import Target, find_target, gene_names
from biotools.variants import Variant, variant_spans


class TargetExon(BaseModel):
    """A coding exon in reading order: bases [start, end) of the forward strand."""

    number: int
    start: int
    end: int


class TargetGene(BaseModel):
    """The coding sequence chosen for the gene; `note` says what was passed over."""

    gene: str
    strand: Strand
    exons: list[TargetExon]
    cds_length: Annotated[int, Field(description="bases, stop codon included")]
    protein_length: Annotated[int, Field(description="amino acids up to the first stop")]
    product: str | None
    protein_id: str | None
    note: str | None


class ParsedRecord(BaseModel):
    """The record, the genes that have a coding sequence, and the one asked for."""

    id: str
    name: str
    description: str
    length: int
    sequence_sha256: Annotated[str, Field(description="of the upper-case sequence")]
    format: str
    genes: list[str]
    target: TargetGene | None


def parse_record(
    file: FilePath,
    gene: str | None = None,
    location: Annotated[
        str | None,
        Field(description="GenBank syntax, 1-based, for example join(10..90,200..310)"),
    ] = None,
    variants: list[Variant] | None = None,
) -> ParsedRecord:
    """Read a GenBank, EMBL or FASTA file (plain or gzip) and locate a gene's coding sequence.

    `gene` is matched against /gene, then /locus_tag, of the coding sequences; of several, the
    longest complete one is taken. A `location` replaces the annotation (needed for FASTA).
    Each of `variants` is compared with the record: bad_location where it does not fit.
    """
    record = load_record(file)
    variant_spans(record, variants or [])
    wanted = gene is not None or location is not None
    return ParsedRecord(
        id=record.id,
        name=record.name,
        description=record.description,
        length=len(record.sequence),
        sequence_sha256=record.sha256,
        format=record.format,
        genes=gene_names(record),
        target=_described(find_target(record, gene, location)) if wanted else None,
    )


def _described(target: Target) -> TargetGene:
    return TargetGene(
        gene=target.gene,
        strand=target.strand,
        exons=[TargetExon(number=e.number, start=e.start, end=e.end) for e in target.exons],
        cds_length=target.cds_length,
        protein_length=len(target.protein),
        product=target.product,
        protein_id=target.protein_id,
        note=target.note,
    )
