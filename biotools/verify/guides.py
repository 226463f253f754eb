"""Reads every guide back from the record: position, strand, PAM and cut."""

from typing import Annotated

from pydantic import BaseModel, Field

from biotools.params import FilePath, Spacer, Strand
from biotools.records import load_record
from biotools.verify.bases import matches_pattern, opposite_strand

_CUT_FROM_PAM = 3


class ClaimedGuide(BaseModel):
    """A guide as designed. start/end: protospacer on the forward strand, 0-based half-open."""

    id: str
    spacer: Spacer
    pam: Annotated[str, Field(pattern="^[ACGTacgt]{3}$")]
    strand: Strand
    start: int
    end: int
    cut: int


class GuideCheck(BaseModel):
    """Whether the claim holds, and why not."""

    id: str
    ok: bool
    reason: str
    copies: int = Field(description="places in the record with this protospacer and PAM pattern")


class GuideChecks(BaseModel):
    """One check per guide, in the order given."""

    checks: list[GuideCheck]


def locate_guides(
    file: FilePath,
    guides: Annotated[list[ClaimedGuide], Field(min_length=1, max_length=10_000)],
    pam_pattern: Annotated[str, Field(pattern="^[ACGTRYSWKMBDHVNacgtryswkmbdhvn]{3}$")] = "NGG",
) -> GuideChecks:
    """Find each guide in the record by plain text search and compare with what is claimed.

    A guide is ok if protospacer, PAM, strand, start, end and cut all agree with the record.
    Errors: those of the file loader.
    """
    forward = load_record(file).sequence
    strands = {"+": forward, "-": opposite_strand(forward)}
    return GuideChecks(checks=[_check(guide, strands, pam_pattern) for guide in guides])


def _check(guide: ClaimedGuide, strands: dict[str, str], pam_pattern: str) -> GuideCheck:
    spacer, pam = guide.spacer.upper(), guide.pam.upper()
    places = [
        (strand, at)
        for strand, text in strands.items()
        for at in _occurrences(text, spacer)
        if matches_pattern(text[at + 20 : at + 23], pam_pattern)
    ]
    reason = _fault(guide, places, strands[guide.strand], pam)
    return GuideCheck(
        id=guide.id, ok=not reason, reason=reason or "found as claimed", copies=len(places)
    )


def _occurrences(text: str, word: str) -> list[int]:
    found, at = [], text.find(word)
    while at >= 0:
        found.append(at)
        at = text.find(word, at + 1)
    return found


def _fault(guide: ClaimedGuide, places: list[tuple[str, int]], text: str, pam: str) -> str:
    """What is wrong with the claim, in words; empty if nothing is."""
    length = len(text)
    at = guide.start if guide.strand == "+" else length - guide.end
    if guide.end - guide.start != 20:
        return f"start {guide.start} and end {guide.end} do not span 20 bases"
    if (guide.strand, at) not in places:
        return f"no such protospacer with its PAM at {guide.start} ({guide.strand})"
    if text[at + 20 : at + 23] != pam:
        return f"the PAM there is {text[at + 20 : at + 23]}, not {pam}"
    cut_on_strand = at + 20 - _CUT_FROM_PAM
    cut = cut_on_strand if guide.strand == "+" else length - cut_on_strand
    return "" if cut == guide.cut else f"the cut is at {cut}, not {guide.cut}"
