"""The two oligos that put a guide into a type-IIS guide vector.

Scheme of Ran et al., Nat Protoc 2013;8:2281-2308: overhangs CACC and AAAC, and a G in front of the
guide, where it does not start with one, because the U6 promoter starts transcription at G.
"""

from typing import Annotated

from pydantic import BaseModel, Field

from biotools.cloning.vectors import Vector, check_plasmid, get_vector, reverse_complement
from biotools.params import FilePath, Spacer
from biotools.records import load_record


class OligoPair(BaseModel):
    """Both oligos 5' to 3'. `refused_because` is empty for a pair that can be cloned."""

    spacer: str
    top: str
    bottom: str
    g_added: bool
    refused_because: list[str] = Field(description="'enzyme_site': the insert itself is cut")


class OligoDesign(BaseModel):
    """The pairs, and where the scheme comes from."""

    vector: str
    enzyme: str
    source: str = Field(description="papers the cassette and the overhangs are taken from")
    checked_on: str = Field(description="what the overhangs were checked against")
    oligos: list[OligoPair]


def design_oligos(
    spacers: Annotated[list[Spacer], Field(min_length=1, max_length=1000)],
    vector: Annotated[str, Field(description="pX330 or lentiCRISPRv2")] = "pX330",
    vector_file: FilePath | None = None,
) -> OligoDesign:
    """Design both oligos of each guide for pX330 (BbsI) or lentiCRISPRv2 (BsmBI).

    `vector_file` is the user's whole plasmid (read as a circle): its two sites are then checked.
    Errors: unknown_vector, vector_site_missing, invalid_argument, and those of the file loader.
    """
    chosen = get_vector(vector)
    checked_on = f"published cassette of {chosen.full_name} (Addgene {chosen.addgene_id})"
    if vector_file is not None:
        plasmid = load_record(vector_file)
        check_plasmid(chosen, plasmid.sequence)
        checked_on = f"whole plasmid {plasmid.id}, {len(plasmid.sequence)} bp"
    return OligoDesign(
        vector=chosen.name,
        enzyme=chosen.enzyme,
        source=chosen.source,
        checked_on=checked_on,
        oligos=[_pair(spacer.upper(), chosen) for spacer in spacers],
    )


def _pair(spacer: str, vector: Vector) -> OligoPair:
    g_added = not spacer.startswith("G")
    insert = f"G{spacer}" if g_added else spacer
    return OligoPair(
        spacer=spacer,
        top=vector.u6_end[-4:] + insert,
        bottom=reverse_complement(insert + vector.scaffold[:4]),
        g_added=g_added,
        refused_because=["enzyme_site"] if _has_site(insert, vector) else [],
    )


def _has_site(insert: str, vector: Vector) -> bool:
    """Whether the enzyme cuts the insert in place; a site may span a junction."""
    reach = len(vector.recognition) - 1
    placed = vector.u6_end[-reach:] + insert + vector.scaffold[:reach]
    return vector.recognition in placed or reverse_complement(vector.recognition) in placed
