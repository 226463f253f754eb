"""Writes the input record back with the guides and primers as features.

Deterministic: same record and features, same bytes. A feature that does not match the sequence it
is placed on is refused, so the file can be trusted without its report.
"""

import io
import re
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, Field

from biotools.cloning.vectors import reverse_complement
from biotools.errors import ToolInputError
from biotools.params import FilePath, Spacer, Strand
from biotools.records import Record, load_record

if TYPE_CHECKING:
    from Bio.SeqFeature import SeqFeature
    from Bio.SeqRecord import SeqRecord

_NO_DATE = "01-JAN-1980"  # what Biopython writes for "no date"; a real one would change the bytes


class GuideFeature(BaseModel):
    """A guide to draw: protospacer start/end on the forward strand, 0-based half-open."""

    id: str
    spacer: Spacer
    pam: str
    strand: Strand
    start: Annotated[int, Field(ge=0)]
    end: int
    cut: int


class PrimerFeature(BaseModel):
    """A primer pair to draw: start of the left and end of the right primer, 0-based half-open."""

    id: str
    left: str
    right: str
    left_start: Annotated[int, Field(ge=0)]
    right_end: int


class AnnotatedRecord(BaseModel):
    """The record with its new features."""

    genbank: str = Field(description="GenBank flat file")
    features_added: int


def annotate_record(
    file: FilePath,
    gene: str,
    location: str | None = None,
    guides: list[GuideFeature] | None = None,
    primers: list[PrimerFeature] | None = None,
) -> AnnotatedRecord:
    """Add each guide (misc_feature) and primer (primer_bind) to the record, as GenBank text.

    For a record without features, `location` (GenBank syntax, 1-based) becomes the CDS of `gene`.
    Errors: invalid_argument (a guide or primer does not lie where it says), bad_location, and
    those of the file loader.
    """
    record = load_record(file)
    added = [_guide_feature(record, guide) for guide in guides or []]
    for pair in primers or []:
        added += _primer_features(record, pair)
    target = [] if location is None or record.bio.features else [_cds(record, gene, location)]
    text = _genbank(record, [*target, *added])
    return AnnotatedRecord(genbank=text, features_added=len(target) + len(added))


def _guide_feature(record: Record, guide: GuideFeature) -> "SeqFeature":
    _check_placed(record, f"guide {guide.id}", guide.spacer, guide.start, guide.end, guide.strand)
    notes = [
        f"protospacer {guide.spacer.upper()}, PAM {guide.pam.upper()}",
        f"Cas9 cut between bases {guide.cut} and {guide.cut + 1}",
    ]
    qualifiers = {"label": [guide.id], "note": notes}
    return _feature("misc_feature", guide.start, guide.end, guide.strand, qualifiers)


def _primer_features(record: Record, pair: PrimerFeature) -> "list[SeqFeature]":
    left_end = pair.left_start + len(pair.left)
    right_start = pair.right_end - len(pair.right)
    sides: list[tuple[str, str, int, int, Strand]] = [
        (f"{pair.id} left", pair.left, pair.left_start, left_end, "+"),
        (f"{pair.id} right", pair.right, right_start, pair.right_end, "-"),
    ]
    for label, sequence, start, end, strand in sides:
        _check_placed(record, f"primer {label}", sequence, start, end, strand)
    return [
        _feature("primer_bind", start, end, strand, {"label": [label], "note": [sequence.upper()]})
        for label, sequence, start, end, strand in sides
    ]


def _check_placed(
    record: Record, what: str, sequence: str, start: int, end: int, strand: Strand
) -> None:
    found = record.sequence[start:end] if 0 <= start < end <= len(record.sequence) else ""
    if strand == "-":
        found = reverse_complement(found)
    if found != sequence.upper():
        raise ToolInputError(
            "invalid_argument",
            f"The {what} is not at {start}..{end} ({strand}) of {record.id}.",
            "Give 0-based half-open forward coordinates of this very record.",
        )


def _feature(
    kind: str, start: int, end: int, strand: Strand, qualifiers: dict[str, list[str]]
) -> "SeqFeature":
    from Bio.SeqFeature import SeqFeature, SimpleLocation

    location = SimpleLocation(start, end, 1 if strand == "+" else -1)  # type: ignore[no-untyped-call]
    return SeqFeature(location, type=kind, qualifiers=qualifiers)  # type: ignore[no-untyped-call]


def _cds(record: Record, gene: str, location: str) -> "SeqFeature":
    from Bio.SeqFeature import Location, LocationParserError, SeqFeature

    length = len(record.sequence)
    try:
        parsed = Location.fromstring(location.replace(" ", ""), length)  # type: ignore[no-untyped-call]
    except (LocationParserError, ValueError, AttributeError) as error:
        raise _bad_location(location) from error
    if parsed is None or parsed.start < 0 or parsed.end > length:
        raise _bad_location(location)
    return SeqFeature(parsed, type="CDS", qualifiers={"gene": [gene]})  # type: ignore[no-untyped-call]


def _bad_location(location: str) -> ToolInputError:
    return ToolInputError(
        "bad_location",
        f"The location {location!r} does not fit the record.",
        "Use GenBank syntax, 1-based, e.g. join(101..250,400..620).",
    )


def _genbank(record: Record, added: "list[SeqFeature]") -> str:
    from Bio import SeqIO

    out = _writable(record)
    out.features = [*record.bio.features, *added]
    handle = io.StringIO()
    SeqIO.write(out, handle, "genbank")
    return handle.getvalue()


def _writable(record: Record) -> "SeqRecord":
    """A copy the GenBank writer accepts: plain locus name, a molecule type, a fixed date."""
    from Bio.Seq import Seq
    from Bio.SeqRecord import SeqRecord

    clean = [re.sub(r"[^A-Za-z0-9_.|-]", "_", text) for text in (record.id, record.name)]
    annotations: dict[str, Any] = {**record.bio.annotations}
    annotations["molecule_type"] = annotations.get("molecule_type") or "DNA"
    annotations.setdefault("date", _NO_DATE)
    return SeqRecord(
        Seq(record.sequence),
        id=clean[0],
        name=clean[1][:16] or "record",
        description=record.description,
        dbxrefs=list(record.bio.dbxrefs),
        annotations=annotations,
    )
