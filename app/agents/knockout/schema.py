"""The published shape of `report.json`. Its JSON Schema is generated from these models."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Strand = Literal["+", "-"]
Position = Annotated[int, Field(ge=0, description="0-based, on the forward strand")]
MismatchCounts = Annotated[
    list[int], Field(description="element n: sites with exactly n mismatches")
]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Exon(_Part):
    """A coding exon, 0-based half-open."""

    number: int
    start: Position
    end: Position


class Target(_Part):
    """The gene that is knocked out."""

    record_id: str
    description: str
    record_length: int
    gene: str
    strand: Strand
    exons: list[Exon]
    cds_length: int
    protein_length: int | None
    product: str | None
    protein_id: str | None
    note: str | None
    transcripts: int = Field(description="coding sequences of the gene in the record")


class Scores(_Part):
    """On-target and specificity scores side by side; null where a model could not score."""

    rule_set_3: float | None
    crisprscan: float | None
    cfd_specificity: float | None = Field(description="0-100, over the searched sequences only")
    mit_specificity: float | None = Field(description="0-100, over the searched sequences only")


class Site(_Part):
    """One off-target site; `start` is the protospacer's first forward base."""

    genome: str
    contig: str
    start: Position
    strand: Strand
    protospacer: str
    pam: str
    mismatches: int
    cfd: float
    mit: float | None


class OffTargets(_Part):
    """Off-targets of one guide, its own site left out."""

    counts: MismatchCounts
    counts_by_pam: dict[str, MismatchCounts]
    worst_sites: list[Site] = Field(description="worst first by CFD, at most 20")
    is_truncated: bool = Field(description="whether there are more sites than are listed")


class Candidate(_Part):
    """A guide that cuts in the coding sequence, with everything known about it."""

    id: str
    spacer: str
    pam: str
    strand: Strand
    start: Position
    end: int
    cut: Position = Field(description="the cut lies between forward bases cut-1 and cut")
    exon: int
    cds_offset: int = Field(description="coding bases 5' of the cut")
    cds_percent: float
    phase: int
    splice_distance: int | None = Field(description="bp from the cut to the nearest splice site")
    transcripts_hit: int = Field(description="coding sequences of the gene that it cuts")
    gc: float
    scores: Scores
    off_targets: OffTargets | None
    refused_because: list[str] = Field(description="stable codes; empty for an eligible guide")


class Frameshift(_Part):
    """Predicted repair outcome (Bae et al. 2014)."""

    id: str
    out_of_frame_score: float | None = Field(description="0-100; null without microhomology")
    microhomology_score: float


class Oligo(_Part):
    """The two oligos of a guide, 5' to 3'."""

    id: str
    spacer: str
    top: str
    bottom: str
    g_added: bool


class Amplicon(_Part):
    """A short amplicon for sequencing."""

    left: str
    right: str
    product_size: int


class Primers(_Part):
    """A primer pair around a cut; the product is left_start to right_end, 0-based half-open."""

    id: str
    left: str
    right: str
    left_tm: float
    right_tm: float
    left_start: Position
    right_end: int
    product_size: int
    fragments: list[int] = Field(description="expected fragments of a T7E1 digest, in bp")
    ngs: Amplicon | None


class SitePair(_Part):
    """A primer pair around an off-target site; positions on its contig, 0-based half-open."""

    left: str
    right: str
    left_tm: float
    right_tm: float
    left_start: Position
    right_end: int
    product_size: int
    fragments: list[int] = Field(description="expected fragments of a T7E1 digest, in bp")


class OffTargetPlace(_Part):
    """One of the worst off-target sites of the chosen guides, and primers to look at it."""

    id: str
    genome: str
    contig: str
    cut: Position
    guides: list[str] = Field(description="chosen guides that may cut there")
    cfd: float = Field(description="of the guide that fits best")
    mismatches: int
    pair: SitePair | None
    reason: str | None = Field(description="why there is no pair")


class BaseChange(_Part):
    """One changed base, both bases as on the forward strand."""

    position: Position
    old: str
    new: str


class Donor(_Part):
    """A donor for repair by homology, 5' to 3' on the gene's strand; an insert goes between."""

    left_arm: str
    right_arm: str
    sequence: str = Field(description="both arms, without an insert")
    strand: Strand
    start: Position
    end: int
    phase: int = Field(description="bases of a codon left open by the left arm: 0-2")
    blocked_by: Literal["pam", "seed"] | None = Field(
        description="where the silent change lies; null if none keeps Cas9 off"
    )
    changes: list[BaseChange]
    altered_site: str
    recut_cfd: float
    note: str | None


class DonorOf(_Part):
    """The donor of a guide, or why it has none."""

    id: str
    donor: Donor | None
    reason: str | None


class CheckResult(_Part):
    """One check of the evaluator, by another road than the result."""

    name: str
    status: Literal["passed", "failed", "not_run"]
    statement: str
    figures: dict[str, Any]
    reason: str | None


class Searched(_Part):
    """A sequence file that was searched for off-targets."""

    name: str = Field(description="what `genome` of a site refers to")
    role: Literal["record", "background"]
    sha256: str
    contigs: int
    bases: int
    pam_sites: int | None


class Refused(_Part):
    """A try that the evaluator refused."""

    attempt: int
    reasons: list[str]
    exclude: list[str] = Field(description="guides left out of the next try")


class Locus(_Part):
    """Where a background holds the target's own locus, so that it is no off-target."""

    genome: str
    contig: str
    strand: Strand
    guides: int = Field(description="guides found there at the record's own distances")


class Provenance(_Part):
    """What the result was made from. Times are in provenance.json only."""

    template: str
    template_version: int
    parameters: dict[str, Any]
    inputs: dict[str, Any]
    versions: dict[str, str]
    models: list[dict[str, Any]]
    tools: list[str]
    seeds: str
    policy: str
    attempts: int
    isolated_recount_sha256: str


class KnockoutReport(_Part):
    """Report of a CRISPR knockout. Coordinates are 0-based half-open on the forward strand.

    (report.md and the CSV files, made for people, count from 1.)
    """

    schema_version: Literal[1]
    task: Literal["crispr_knockout"]
    verdict: Literal["passed"]
    target: Target
    chosen: list[str] = Field(description="ids of the chosen guides, best first")
    candidates: list[Candidate] = Field(description="every guide enumerated, in order of cut")
    oligos: list[Oligo]
    primers: list[Primers]
    off_target_primers: list[OffTargetPlace] = Field(
        description="the worst off-target sites of all chosen guides, worst first, at most 5"
    )
    donors: list[DonorOf] | None = Field(description="null unless asked for")
    frameshift: list[Frameshift]
    checks: list[CheckResult]
    refusals: list[Refused]
    searched: list[Searched]
    own_loci: list[Locus]
    limits: list[str] = Field(description="what this search therefore cannot know")
    notes: list[str]
    provenance: Provenance


def report_schema() -> dict[str, Any]:
    """The JSON Schema of `report.json`, as published in the reference."""
    schema = KnockoutReport.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
