"""`report.md`: the report as a researcher reads it. Positions count from 1."""

from collections import Counter
from collections.abc import Iterable, Sequence

from app.agents.knockout.ranking import SCORE_NAMES, on_target_score
from app.agents.knockout.schema import (
    Candidate,
    DonorOf,
    KnockoutReport,
    OffTargetPlace,
    Primers,
)

_REASONS = {
    "gc_low": "too few G and C",
    "gc_high": "too many G and C",
    "pol3_terminator": "TTTT ends transcription from U6",
    "homopolymer": "a run of five or more equal bases",
    "enzyme_site": "holds the site of the cloning enzyme",
    "outside_window": "cuts too early or too late in the coding sequence",
    "nmd_escape": "cuts in the last exon or the 55 nt before it: the transcript may survive",
    "known_variant": "a known variant lies in its protospacer or PAM",
    "no_context": "too near the end of the record to be scored",
    "perfect_off_target": "cuts a second place with the very same sequence",
    "one_mismatch_off_target": "a second place differs by one base only",
    "no_primers": "no primer pair shows its cut uniquely",
    "refused_by_evaluator": "refused by the evaluator at an earlier try",
}
_CLOSE = {"perfect_off_target", "one_mismatch_off_target"}
_BEST = 6
_MARKS = {"passed": "passed", "failed": "FAILED", "not_run": "NOT RUN"}


def render(report: KnockoutReport) -> bytes:
    """The whole page, UTF-8."""
    parts = [
        *_head(report),
        *_chosen(report),
        *_trap(report),
        *_refused(report),
        *_off_targets(report),
        *_oligos(report),
        *_primers(report),
        *_off_target_primers(report),
        *_donors(report),
        *_checks(report),
        *_searched(report),
        *_provenance(report),
    ]
    return ("\n".join(parts).rstrip() + "\n").encode()


def text(value: object) -> str:
    """Text from a file, safe inside a table cell and never markup."""
    flat = " ".join(str(value).split())
    for mark in "\\`*_[]<>|#":
        flat = flat.replace(mark, "\\" + mark)
    return flat


def _head(report: KnockoutReport) -> list[str]:
    target = report.target
    protein = f", {target.protein_length} amino acids" if target.protein_length else ""
    said = (
        f"**{len(report.chosen)} guides chosen out of {len(report.candidates)}** that cut the "
        f"coding sequence of {text(target.gene)} in {text(target.record_id)} "
        f"({text(target.description)}; {len(target.exons)} coding exons, "
        f"{target.cds_length} bp{protein}). Verdict of the evaluator: **{report.verdict}**."
    )
    lines = [f"# CRISPR knockout of {text(target.gene)}", "", said, ""]
    lines += [f"> {text(report.limits[0])}", ""]
    lines += [f"- {text(note)}" for note in report.notes]
    for refusal in report.refusals:
        lines.append(f"- Try {refusal.attempt} was refused: {text('; '.join(refusal.reasons))}")
    return [*lines, "", "![map](map.svg)", ""]


def _rows(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return [*lines, ""]


def _figure(value: float | None, digits: int = 1) -> str:
    return "not scored" if value is None else f"{value:.{digits}f}"


def _picked(report: KnockoutReport) -> list[Candidate]:
    by_id = {one.id: one for one in report.candidates}
    return [by_id[guide] for guide in report.chosen]


def _chosen(report: KnockoutReport) -> list[str]:
    head = ["rank", "guide", "spacer and PAM", "strand", "exon", "cut after base", "% of CDS"]
    head += ["bp to splice site", "transcripts cut"]
    head += ["Rule Set 3", "CRISPRscan", "CFD spec.", "MIT spec.", "out of frame"]
    frames = {row.id: row.out_of_frame_score for row in report.frameshift}
    rows = [
        [
            rank,
            one.id,
            f"`{one.spacer}` {one.pam}",
            one.strand,
            one.exon,
            f"{one.cut:,}",
            f"{one.cds_percent:.1f}",
            "none" if one.splice_distance is None else one.splice_distance,
            f"{one.transcripts_hit} of {report.target.transcripts}",
            _figure(one.scores.rule_set_3, 2),
            _figure(one.scores.crisprscan, 2),
            _figure(one.scores.cfd_specificity),
            _figure(one.scores.mit_specificity),
            _figure(frames.get(one.id)),
        ]
        for rank, one in enumerate(_picked(report), start=1)
    ]
    order = (
        "Order: no perfect or one-mismatch NGG site elsewhere; then the band of CFD specificity "
        "(50 and more, 30 to 50, below 30); then the on-target score; then specificity; then an "
        "early cut. Cuts are at least 20 bp apart, in two exons where possible. Scores stand side "
        "by side and are never averaged."
    )
    return ["## Chosen guides", "", *_rows(head, rows), order, ""]


def _trap(report: KnockoutReport) -> list[str]:
    """The guides that score alone would have picked, and where else they cut."""
    score = on_target_score([one.model_dump() for one in report.candidates])
    ranked = sorted(
        (one for one in report.candidates if getattr(one.scores, score) is not None),
        key=lambda one: (-getattr(one.scores, score), one.id),
    )
    best = ranked[:_BEST]
    rows = [_trapped(one, score) for one in best if _CLOSE & set(one.refused_because)]
    if not rows:
        return []
    said = (
        f"{len(rows)} of the {len(best)} best-scored guides would cut elsewhere as well, usually "
        "in a paralog: the score knows nothing of the rest of the genome."
    )
    head = ["guide", "spacer and PAM", SCORE_NAMES[score], "also cuts at", "mismatches there"]
    lines = ["## Guides that the score alone would have picked", "", said, ""]
    return [*lines, *_rows(head, rows)]


def _trapped(one: Candidate, score: str) -> list[object]:
    sites = one.off_targets.worst_sites if one.off_targets else []
    close = [site for site in sites if site.pam.endswith("GG") and site.mismatches <= 1]
    where = ", ".join(f"{text(site.contig)}:{site.start + 1:,} ({site.strand})" for site in close)
    wrong = ", ".join(str(site.mismatches) for site in close)
    figure = _figure(getattr(one.scores, score), 2)
    return [one.id, f"`{one.spacer}` {one.pam}", figure, where, wrong]


def _refused(report: KnockoutReport) -> list[str]:
    counts = Counter(code for one in report.candidates for code in one.refused_because)
    if not counts:
        return []
    rows = [[f"`{code}`", _REASONS.get(code, code), counts[code]] for code in sorted(counts)]
    head = ["code", "meaning", "guides"]
    said = "A guide may break several rules; `guides.csv` lists each guide with its reasons."
    return ["## Why guides were refused", "", *_rows(head, rows), said, ""]


def _off_targets(report: KnockoutReport) -> list[str]:
    pams = list(report.provenance.parameters["off_target_pams"])
    most = report.provenance.parameters["max_mismatches"]
    steps = ", ".join(str(step) for step in range(most + 1))
    rows = []
    for one in _picked(report):
        counted = one.off_targets.counts_by_pam if one.off_targets else {}
        cells = [" / ".join(map(str, counted.get(pam, []))) for pam in pams]
        worst = (
            one.off_targets.worst_sites[0]
            if one.off_targets and one.off_targets.worst_sites
            else None
        )
        where = f"{text(worst.contig)}:{worst.start + 1:,} CFD {worst.cfd:.3f}" if worst else "none"
        rows.append([one.id, *cells, where])
    head = ["guide", *pams, "worst site"]
    said = f"Sites with {steps} mismatches, for each PAM; `off_targets.csv` lists the worst ones."
    return ["## Off-targets of the chosen guides", "", said, "", *_rows(head, rows)]


def _oligos(report: KnockoutReport) -> list[str]:
    vector = report.provenance.parameters["vector"]
    rows = [
        [one.id, f"`{one.top}`", f"`{one.bottom}`", "yes" if one.g_added else "no"]
        for one in report.oligos
    ]
    head = ["guide", "top, 5' to 3'", "bottom, 5' to 3'", "G added"]
    return [f"## Oligos to order for {vector}", "", *_rows(head, rows)]


def _primers(report: KnockoutReport) -> list[str]:
    rows = [_primer_row(pair) for pair in report.primers]
    head = ["guide", "left, 5' to 3'", "right, 5' to 3'", "Tm", "product", "cut fragments", "NGS"]
    said = "Cut fragments are those of a T7E1 or Surveyor digest, in bp."
    return ["## Primers and expected fragments", "", *_rows(head, rows), said, ""]


def _primer_row(pair: Primers) -> list[str]:
    return [
        pair.id,
        f"`{pair.left}`",
        f"`{pair.right}`",
        f"{pair.left_tm:.1f} / {pair.right_tm:.1f}",
        f"{pair.product_size} bp",
        " + ".join(map(str, pair.fragments)),
        f"{pair.ngs.product_size} bp" if pair.ngs else "none",
    ]


def _off_target_primers(report: KnockoutReport) -> list[str]:
    lines = ["## Primers for the worst off-target sites", ""]
    if not report.off_target_primers:
        return [*lines, "No off-target site of a chosen guide was found.", ""]
    rows = [_place_row(place) for place in report.off_target_primers]
    head = ["site", "cut after base", "guides", "mismatches", "CFD", "left, 5' to 3'"]
    head += ["right, 5' to 3'", "product", "cut fragments"]
    said = "Amplify and sequence these after editing. A site without a pair says why."
    return [*lines, *_rows(head, rows), said, ""]


def _place_row(place: OffTargetPlace) -> list[object]:
    where = f"{text(place.contig)} ({place.genome})"
    cells: list[object] = [where, f"{place.cut:,}", " ".join(place.guides), place.mismatches]
    cells.append(f"{place.cfd:.3f}")
    pair = place.pair
    if pair is None:
        return [*cells, text(place.reason or ""), "", "", ""]
    fragments = " + ".join(map(str, pair.fragments))
    return [*cells, f"`{pair.left}`", f"`{pair.right}`", f"{pair.product_size} bp", fragments]


def _donors(report: KnockoutReport) -> list[str]:
    if report.donors is None:
        return []
    rows = [_donor_row(row) for row in report.donors]
    head = ["guide", "left arm", "right arm", "codon phase", "Cas9 is kept off by", "CFD left"]
    said = (
        "5' to 3' on the gene's strand; an insert goes between the arms. Phase: how many bases of "
        "a codon the left arm leaves open. Silent changes keep the protein and are in the arms."
    )
    return ["## Donors for repair by homology", "", *_rows(head, rows), said, ""]


def _donor_row(row: DonorOf) -> list[object]:
    donor = row.donor
    if donor is None:
        return [row.id, text(row.reason or ""), "", "", "", ""]
    changes = ", ".join(f"{one.position + 1}{one.old}>{one.new}" for one in donor.changes)
    how = f"{donor.blocked_by}: {changes}" if donor.blocked_by else text(donor.note or "")
    arms = (f"`{donor.left_arm}`", f"`{donor.right_arm}`")
    return [row.id, *arms, donor.phase, how, f"{donor.recut_cfd:.3f}"]


def _checks(report: KnockoutReport) -> list[str]:
    rows = [
        [f"`{one.name}`", _MARKS[one.status], text(one.statement), text(one.reason or "")]
        for one in report.checks
    ]
    return ["## Checks by another road", "", *_rows(["check", "result", "what", "why"], rows)]


def _searched(report: KnockoutReport) -> list[str]:
    rows = [
        [one.role, text(one.name), one.contigs, f"{one.bases:,}", f"`{one.sha256[:16]}`"]
        for one in report.searched
    ]
    head = ["what", "name", "contigs", "bases", "sha256 begins"]
    lines = ["## What was searched, and what it cannot know", "", *_rows(head, rows)]
    lines += [
        f"- {text(locus.contig)} ({locus.genome}) holds the target's own locus: all {locus.guides} "
        "guides lie there at the record's distances. It was not counted as an off-target."
        for locus in report.own_loci
    ]
    return [*lines, *(f"- {text(limit)}" for limit in report.limits), ""]


def _provenance(report: KnockoutReport) -> list[str]:
    made = report.provenance
    rows = [[name, made.versions[name]] for name in sorted(made.versions)]
    lines = ["## Provenance", ""]
    lines.append(
        f"Template {made.template} version {made.template_version}, policy {made.policy}, "
        f"try {made.attempts}. {made.seeds} Parameters, checksums and times: `provenance.json`."
    )
    models = [
        f"- {text(one.get('name'))} {text(one.get('version') or '')}: "
        + ("used" if one.get("available") else f"not available, {text(one.get('reason') or '')}")
        for one in made.models
    ]
    return [*lines, "", *models, "", *_rows(["software", "version"], rows)]
