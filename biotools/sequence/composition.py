"""Tools: base composition of DNA, and properties of a protein computed from its sequence."""

from typing import Annotated, Any

from pydantic import BaseModel, Field

Dna = Annotated[str, Field(pattern="^[A-Za-z]+$", max_length=10_000_000)]
Protein = Annotated[
    str,
    Field(
        pattern=r"^[ACDEFGHIKLMNPQRSTVWYacdefghiklmnpqrstvwy]+\*?$",
        max_length=100_000,
        description="the 20 amino acids in one-letter code",
    ),
]


class GcContent(BaseModel):
    """`gc` is the fraction of G, C and S among the bases that are known to be either or not."""

    length: int
    gc: float | None
    counts: dict[str, int]


class ProteinProperties(BaseModel):
    """Average mass in Da; GRAVY after Kyte and Doolittle; pI after Bjellqvist."""

    length: int
    molecular_weight: float
    isoelectric_point: float
    gravy: float
    aromaticity: float
    instability_index: float
    extinction_reduced: Annotated[int, Field(description="280 nm, per M and cm, free cysteines")]
    extinction_oxidised: Annotated[int, Field(description="280 nm, per M and cm, cystines")]
    amino_acids: dict[str, int]


def gc_content(sequence: Dna) -> GcContent:
    """Fraction of G and C. Ambiguous letters but S (G or C) and W (A or T) are left out."""
    from biotools.letters import check_dna, normalise

    text = normalise(sequence.encode())
    check_dna(text, "The sequence")
    counts = {chr(letter): text.count(letter) for letter in sorted(set(text))}
    strong = sum(counts.get(letter, 0) for letter in "GCS")
    known = strong + sum(counts.get(letter, 0) for letter in "ATW")
    return GcContent(length=len(text), gc=strong / known if known else None, counts=counts)


def protein_properties(sequence: Protein) -> ProteinProperties:
    """Mass, isoelectric point, hydropathy, stability and absorbance of a protein."""
    from Bio.SeqUtils.ProtParam import ProteinAnalysis

    analyse: Any = ProteinAnalysis  # untyped in Biopython
    analysis = analyse(sequence.upper().removesuffix("*"))
    reduced, oxidised = analysis.molar_extinction_coefficient()
    return ProteinProperties(
        length=analysis.length,
        molecular_weight=round(analysis.molecular_weight(), 4),
        isoelectric_point=round(analysis.isoelectric_point(), 4),
        gravy=round(analysis.gravy(), 6),
        aromaticity=round(analysis.aromaticity(), 6),
        instability_index=round(analysis.instability_index(), 4),
        extinction_reduced=reduced,
        extinction_oxidised=oxidised,
        amino_acids=dict(analysis.count_amino_acids()),
    )
