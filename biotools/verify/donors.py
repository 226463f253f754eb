"""Reads donors back: their arms, the changes in them, the protein, and the site Cas9 would cut."""

from typing import Annotated, Any

from pydantic import BaseModel, Field

from biotools.params import FilePath, Spacer, Strand
from biotools.records import Record, load_record
from biotools.targets import Target, find_target
from biotools.verify.bases import opposite_strand

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
    20 bases with an NGG behind them. Errors: those of the record loader and the gene search.
    """
    record = load_record(file)
    target = find_target(record, gene, location)
    faults = [(donor.id, _fault(record, target, donor)) for donor in donors]
    return DonorChecks(
        checks=[
            DonorCheck(id=name, ok=not fault, reason=fault or "as claimed")
            for name, fault in faults
        ]
    )


def _fault(record: Record, target: Target, donor: ClaimedDonor) -> str:
    """What is wrong, in words; empty if nothing is."""
    arms = donor.left_arm.upper() + donor.right_arm.upper()
    forward = arms if donor.strand == "+" else opposite_strand(arms)
    left = len(donor.left_arm if donor.strand == "+" else donor.right_arm)
    whole = donor.left_arm + donor.insert + donor.right_arm
    there = record.sequence[donor.start : donor.end]
    if donor.strand != target.strand or donor.sequence.upper() != whole.upper():
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
    if _protein(target, edited) != _protein(target, record.sequence):
        return "the changes alter the protein"
    if donor.changes and _is_cut(donor.spacer.upper(), forward):
        return "the guide still finds its site in the arms"
    return ""


def _protein(target: Target, forward: str) -> str:
    """The gene's protein, read from the forward strand through Biopython's own features."""
    from Bio.Seq import Seq
    from Bio.SeqFeature import CompoundLocation, SimpleLocation

    sign = 1 if target.strand == "+" else -1
    place: Any = SimpleLocation
    parts = [place(exon.start, exon.end, sign) for exon in target.exons]
    joined: Any = parts[0] if len(parts) == 1 else CompoundLocation(parts)  # type: ignore[no-untyped-call]
    coding = joined.extract(Seq(forward))[target.phase_start :]
    return str(coding[: len(coding) // 3 * 3].translate(table=target.genetic_code))


def _is_cut(spacer: str, forward: str) -> bool:
    """Whether the spacer lies in front of an NGG on either strand."""
    for text in (forward, opposite_strand(forward)):
        at = text.find(spacer)
        while at >= 0:
            if text[at + 21 : at + 23] == "GG":
                return True
            at = text.find(spacer, at + 1)
    return False
