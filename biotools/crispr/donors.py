"""Tool: a donor for repair by homology at a guide's cut: two arms, and a change Cas9 cannot cut.

Without the silent change Cas9 would cut the repaired allele again (Paquet et al. 2016,
10.1038/nature17664).
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from biotools.crispr.gene_model import GeneModel
from biotools.crispr.silent import SPACER, CodingSite, SilentChange
from biotools.errors import ToolInputError
from biotools.params import FilePath, Spacer, Strand
from biotools.records import Record, load_record
from biotools.targets import Target, find_target, reverse_complement, translated

_CUT_IN_SPACER = 17


class BaseChange(BaseModel):
    """One changed base: 0-based on the forward strand, both bases read there."""

    position: int
    old: str
    new: str


class Donor(BaseModel):
    """A donor, 5' to 3' on the gene's strand: sequence = left_arm + insert + right_arm."""

    left_arm: str
    insert: str
    right_arm: str
    sequence: str
    strand: Annotated[Strand, Field(description="the gene's strand, on which the donor reads")]
    start: Annotated[int, Field(description="first forward base of the arms")]
    end: Annotated[int, Field(description="end of the arms on the forward strand (exclusive)")]
    phase: Annotated[int, Field(description="bases of a codon left open by the left arm: 0-2")]
    insert_in_frame: Annotated[bool, Field(description="its length is a multiple of three")]
    reads_through: Annotated[
        bool, Field(description="the edited sequence is in frame and has no earlier stop")
    ]
    blocked_by: Literal["pam", "seed"] | None = Field(
        description="where the silent change lies; null if there is none"
    )
    changes: list[BaseChange]
    altered_site: str = Field(description="protospacer and PAM in the donor, without the insert")
    recut_cfd: float = Field(description="CFD of that site against the guide, 0-1; below 0.05")
    note: str | None


def hdr_template(
    file: FilePath,
    gene: str,
    cut: Annotated[int, Field(ge=0, description="the cut lies between bases cut - 1 and cut")],
    strand: Strand,
    spacer: Spacer,
    pam: Annotated[str, Field(pattern="^[ACGTacgt]{3}$")],
    location: str | None = None,
    arm: Annotated[int, Field(ge=20, le=2000, description="bases of each arm")] = 60,
    insert: Annotated[
        str, Field(pattern="^[ACGTacgt]*$", max_length=10_000, description="on the gene's strand")
    ] = "",
) -> Donor:
    """Build a donor around a guide's cut in a coding exon, for repair by homology.

    The arms carry a silent change of the PAM, or of the seed where the code leaves the PAM no
    choice; it is checked to keep the protein, and stays 3 bases away from splice sites. Where no
    silent change suffices, `blocked_by` is null and `note` says so. The insert is checked for
    frame and stops. Errors: invalid_argument (the guide is not there, the cut is not coding, an
    arm reaches over the record's end), those of the record loader and the gene search.
    """
    record = load_record(file)
    target = find_target(record, gene, location)
    place = GeneModel(target, []).place(cut)
    if place is None:
        raise _bad(f"The cut {cut} lies in no coding exon of {target.gene}.")
    if cut < arm or cut + arm > len(record.sequence):
        raise _bad(f"Arms of {arm} bases around the cut {cut} do not fit into {record.id}.")
    site = _site(record, target, cut, strand, spacer.upper() + pam.upper())
    silent = site.silent()
    arms = _arms(record, site, silent, (cut - arm, cut, cut + arm))
    reads_through = _reads_through(target, place.offset, insert.upper())
    return Donor(
        left_arm=arms[0],
        insert=insert.upper(),
        right_arm=arms[1],
        sequence=arms[0] + insert.upper() + arms[1],
        strand=target.strand,
        start=cut - arm,
        end=cut + arm,
        phase=(place.offset - target.phase_start) % 3,
        insert_in_frame=len(insert) % 3 == 0,
        reads_through=reads_through,
        **_blocking(site, silent),
    )


def _bad(message: str) -> ToolInputError:
    return ToolInputError("invalid_argument", message, "Take the guide from enumerate_guides.")


def _site(record: Record, target: Target, cut: int, strand: Strand, text: str) -> CodingSite:
    inside = _CUT_IN_SPACER if strand == "+" else SPACER - _CUT_IN_SPACER
    start = cut - inside
    low, high = (start, start + 23) if strand == "+" else (start - 3, start + 20)
    found = record.sequence[max(0, low) : high]
    if text != (found if strand == "+" else reverse_complement(found)):
        raise _bad(f"The guide {text[:20]} {text[20:]} does not cut at {cut} ({strand}).")
    return CodingSite(target, text, start, strand)


def _changes(site: CodingSite, silent: SilentChange | None) -> list[BaseChange]:
    turn = (lambda base: base) if site.strand == "+" else reverse_complement
    found = [
        BaseChange(position=site.forward(place), old=turn(site.site[place]), new=turn(base))
        for place, base in (silent.bases.items() if silent else ())
    ]
    return sorted(found, key=lambda change: change.position)


def _arms(
    record: Record, site: CodingSite, silent: SilentChange | None, span: tuple[int, int, int]
) -> tuple[str, str]:
    """Left and right arm on the gene's strand, with the changes in them."""
    low, cut, high = span
    bases = list(record.sequence[low:high])
    for change in _changes(site, silent):
        bases[change.position - low] = change.new
    before, after = "".join(bases[: cut - low]), "".join(bases[cut - low :])
    if site.target.strand == "+":
        return before, after
    return reverse_complement(after), reverse_complement(before)


def _reads_through(target: Target, offset: int, insert: str) -> bool:
    edited = target.sequence[:offset] + insert + target.sequence[offset:]
    protein = translated(edited[target.phase_start :], target.genetic_code)
    return len(insert) % 3 == 0 and "*" not in protein[:-1]


def _blocking(site: CodingSite, silent: SilentChange | None) -> dict[str, Any]:
    if silent is None:
        return {
            "blocked_by": None,
            "changes": [],
            "altered_site": site.site,
            "recut_cfd": 1.0,
            "note": "No silent change keeps Cas9 off this site: take another guide for repair.",
        }
    return {
        "blocked_by": silent.where,
        "changes": _changes(site, silent),
        "altered_site": site.altered(silent.bases),
        "recut_cfd": round(silent.cfd, 6),
        "note": None,
    }
