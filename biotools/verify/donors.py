"""Reads donors back: their arms, the changes in them, the protein, and the site Cas9 would cut.

The coding sequence is read through Biopython's own features, not through the search for a target
that the designer uses.
"""

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field

from biotools.errors import ToolInputError
from biotools.params import FilePath, Spacer, Strand
from biotools.records import Record, load_record
from biotools.verify.bases import opposite_strand

if TYPE_CHECKING:
    from Bio.SeqFeature import SeqFeature

_Bases = Annotated[str, Field(pattern="^[ACGTacgt]*$")]


class ClaimedChange(BaseModel):
    """One changed base, 0-based on the forward strand."""

    position: int
    old: str
    new: str


class ClaimedDonor(BaseModel):
    """A donor as designed; arms, insert and sequence on the gene's strand."""

    id: str
    spacer: Spacer
    left_arm: _Bases
    insert: _Bases
    right_arm: _Bases
    sequence: _Bases
    strand: Strand
    start: Annotated[int, Field(ge=0)]
    end: int
    cut: int
    changes: list[ClaimedChange]


class DonorCheck(BaseModel):
    """Whether the claim holds, and why not."""

    id: str
    ok: bool
    reason: str


class DonorChecks(BaseModel):
    """One check per donor, in the order given."""

    checks: list[DonorCheck]


def check_donors(
    file: FilePath,
    gene: str,
    donors: Annotated[list[ClaimedDonor], Field(min_length=1, max_length=1000)],
    location: str | None = None,
) -> DonorChecks:
    """Compare each donor with the record, base by base.

    A donor is ok if its arms are the record's but for the changes it names, the changed gene
    codes for the same protein, and, where it names changes, the guide no longer finds its
    20 bases with an NGG behind them. Of several coding sequences of the gene, the longest one
    around the cut counts. Errors: gene_not_found, bad_location, those of the record loader.
    """
    record = load_record(file)
    coding = _coding(record, gene, location)
    faults = [(donor.id, _fault(record, coding, donor)) for donor in donors]
    return DonorChecks(
        checks=[
            DonorCheck(id=name, ok=not fault, reason=fault or "as claimed")
            for name, fault in faults
        ]
    )


def _coding(record: Record, gene: str, location: str | None) -> "list[SeqFeature]":
    """The gene's coding sequences, the longest first."""
    from Bio.SeqFeature import Location, LocationParserError, SeqFeature

    if location is not None:
        try:
            parsed: Any = Location.fromstring("".join(location.split()), len(record.sequence))  # type: ignore[no-untyped-call]
        except (LocationParserError, ValueError, AttributeError) as error:
            raise ToolInputError(
                "bad_location", f"The location {location[:200]!r} cannot be read.", _LOCATION_HINT
            ) from error
        return [SeqFeature(parsed, type="CDS")]  # type: ignore[no-untyped-call]
    named = [one for one in record.bio.features if one.type == "CDS" and _is_named(one, gene)]
    if not named:
        raise ToolInputError(
            "gene_not_found", f"Record {record.id} has no coding sequence of {gene!r}."
        )
    return sorted(named, key=lambda one: -len(one.location or ()))


_LOCATION_HINT = "Use GenBank syntax, 1-based, e.g. join(101..250,400..620)."


def _is_named(feature: "SeqFeature", gene: str) -> bool:
    names = feature.qualifiers.get("gene", []) + feature.qualifiers.get("locus_tag", [])
    return gene.strip().casefold() in {str(name).casefold() for name in names}


def _fault(record: Record, coding: "list[SeqFeature]", donor: ClaimedDonor) -> str:
    """What is wrong, in words; empty if nothing is."""
    arms = donor.left_arm.upper() + donor.right_arm.upper()
    forward = arms if donor.strand == "+" else opposite_strand(arms)
    left = len(donor.left_arm if donor.strand == "+" else donor.right_arm)
    whole = donor.left_arm + donor.insert + donor.right_arm
    there = record.sequence[donor.start : donor.end]
    around = next((one for one in coding if one.location and donor.cut in one.location), None)
    if around is None or around.location is None:
        return "the cut lies in no coding sequence of the gene"
    is_forward = around.location.strand != -1
    if (donor.strand == "+") != is_forward or donor.sequence.upper() != whole.upper():
        return "the sequence is not left arm, insert and right arm on the gene's strand"
    if len(forward) != len(there) or donor.start + left != donor.cut:
        return "the arms do not meet at the cut"
    differing = {
        (donor.start + at, old, new)
        for at, (old, new) in enumerate(zip(there, forward, strict=True))
        if old != new
    }
    if differing != {(one.position, one.old, one.new) for one in donor.changes}:
        return f"the arms differ from the record at {len(differing)} bases, not as claimed"
    edited = record.sequence[: donor.start] + forward + record.sequence[donor.end :]
    if _protein(around, edited) != _protein(around, record.sequence):
        return "the changes alter the protein"
    if donor.changes and _is_cut(donor.spacer.upper(), forward):
        return "the guide still finds its site in the arms"
    return ""


def _protein(feature: "SeqFeature", forward: str) -> str:
    from Bio.Seq import Seq

    coding: Any = feature.extract(Seq(forward))  # type: ignore[no-untyped-call]
    coding = coding[int(feature.qualifiers.get("codon_start", ["1"])[0]) - 1 :]
    table = int(feature.qualifiers.get("transl_table", ["1"])[0])
    return str(coding[: len(coding) // 3 * 3].translate(table=table))


def _is_cut(spacer: str, forward: str) -> bool:
    """Whether the spacer lies in front of an NGG on either strand."""
    for text in (forward, opposite_strand(forward)):
        at = text.find(spacer)
        while at >= 0:
            if text[at + 21 : at + 23] == "GG":
                return True
            at = text.find(spacer, at + 1)
    return False
