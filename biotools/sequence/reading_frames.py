"""Tools: translation and open reading frames."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from biotools.letters import check_dna, normalise
from biotools.params import Strand
from biotools.sequence.composition import Dna
from biotools.targets import reverse_complement, translated

Table = Annotated[int, Field(ge=1, le=33, description="NCBI genetic code number")]


class Translation(BaseModel):
    """`remainder` bases after the last whole codon are not translated."""

    protein: str
    codons: int
    remainder: int


class Orf(BaseModel):
    """An open reading frame from start to stop codon; [start, end) covers both."""

    start: int
    end: int
    strand: Strand
    frame: Annotated[int, Field(description="start % 3 on the strand read")]
    protein: Annotated[str, Field(description="without the stop")]


class Orfs(BaseModel):
    """Longest first."""

    orfs: list[Orf]


def translate(sequence: Dna, table: Table = 1, to_stop: bool = False) -> Translation:
    """Translate the whole codons from the first base; stops are *. U is read as T."""
    text = _dna(sequence)
    protein = translated(text, table)
    if to_stop:
        protein = protein.partition("*")[0]
    return Translation(protein=protein, codons=len(protein), remainder=len(text) % 3)


def find_orfs(
    sequence: Dna,
    min_length_aa: Annotated[int, Field(ge=1)] = 30,
    strand: Literal["both", "+", "-"] = "both",
    nested: bool = False,
    table: Table = 1,
) -> Orfs:
    """Find frames that open with a start codon of the genetic code and close with a stop.

    Frames without a stop before the sequence's end are not reported. With nested, every start in
    a frame gives its own frame; otherwise only the first. The first amino acid is written M.
    """
    text = _dna(sequence)
    strands: tuple[Strand, ...] = ("+", "-") if strand == "both" else (strand,)
    found = [
        orf
        for side in strands
        for orf in _frames(text, side, table, nested)
        if len(orf.protein) >= min_length_aa
    ]
    found.sort(key=lambda orf: (-len(orf.protein), orf.start, orf.strand))
    return Orfs(orfs=found)


def _dna(sequence: str) -> str:
    text = normalise(sequence.encode())
    check_dna(text, "The sequence")
    return text.decode("ascii")


def _frames(text: str, strand: Strand, table: int, nested: bool) -> Iterator[Orf]:
    from Bio.Data.CodonTable import unambiguous_dna_by_id

    read = text if strand == "+" else reverse_complement(text)
    starts = (
        frozenset(unambiguous_dna_by_id[table].start_codons)
        if table in (unambiguous_dna_by_id)
        else frozenset()
    )
    for frame in range(3):
        protein = translated(read[frame:], table)
        for first, stop in _spans(read, frame, protein, starts, nested):
            start, end = frame + 3 * first, frame + 3 * (stop + 1)
            if strand == "-":
                start, end = len(read) - end, len(read) - start
            yield Orf(
                start=start,
                end=end,
                strand=strand,
                frame=frame,
                protein="M" + protein[first + 1 : stop],
            )


def _spans(
    read: str, frame: int, protein: str, starts: frozenset[str], nested: bool
) -> Iterator[tuple[int, int]]:
    """(first codon, stop codon) of each frame, in codons of the reading frame."""
    opened: list[int] = []
    for number, amino_acid in enumerate(protein):
        codon = read[frame + 3 * number : frame + 3 * number + 3]
        if amino_acid == "*":
            yield from ((first, number) for first in opened)
            opened = []
        elif codon in starts and (nested or not opened):
            opened.append(number)
