"""The CSV files. Positions count from 1; ends are inclusive, as people read them.

A cell of text that a spreadsheet would run as a formula gets a leading apostrophe: gene names and
contig names come from files of unknown origin.
"""

import csv
import io
from collections.abc import Iterable, Sequence

from app.agents.knockout.schema import Candidate, KnockoutReport

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
Cell = str | int | float | None


def guides_csv(report: KnockoutReport) -> bytes:
    """Every candidate, in order of cut."""
    pams = [] if not report.candidates else _pams(report)
    head = ["id", "chosen", "spacer", "pam", "strand", "start", "end", "cut_after", "exon"]
    head += ["cds_percent", "phase", "splice_distance", "transcripts_hit", "gc"]
    head += ["rule_set_3", "crisprscan", "cfd_specificity"]
    head += ["mit_specificity", *(f"off_targets_{pam}" for pam in pams), "refused_because"]
    ranks = {guide: place for place, guide in enumerate(report.chosen, start=1)}
    rows = [_guide_row(one, ranks.get(one.id), pams) for one in report.candidates]
    return table(head, rows)


def _pams(report: KnockoutReport) -> list[str]:
    return list(report.provenance.parameters["off_target_pams"])


def _guide_row(one: Candidate, rank: int | None, pams: Sequence[str]) -> list[Cell]:
    counted = one.off_targets.counts_by_pam if one.off_targets else {}
    scores = one.scores
    # A strand is no user's text, but "+" and "-" alone would be quoted: words are plainer.
    strand = "forward" if one.strand == "+" else "reverse"
    place: list[Cell] = [one.id, rank, one.spacer, one.pam, strand, one.start + 1, one.end]
    place += [one.cut, one.exon, one.cds_percent, one.phase, one.splice_distance]
    place += [one.transcripts_hit, one.gc]
    place += [scores.rule_set_3, scores.crisprscan, scores.cfd_specificity, scores.mit_specificity]
    place += [":".join(map(str, counted[pam])) if pam in counted else None for pam in pams]
    return [*place, " ".join(one.refused_because)]


def oligos_csv(report: KnockoutReport) -> bytes:
    """What to order: guide oligos, primers, those of off-target sites, donors; 5' to 3'."""
    rows: list[list[Cell]] = []
    for oligo in report.oligos:
        rows.append([f"{oligo.id}_top", oligo.top, len(oligo.top), "guide oligo, top strand"])
        rows.append([f"{oligo.id}_bottom", oligo.bottom, len(oligo.bottom), "guide oligo, bottom"])
    for pair in report.primers:
        use = f"primer, product {pair.product_size} bp"
        rows.append([f"{pair.id}_left", pair.left, len(pair.left), use])
        rows.append([f"{pair.id}_right", pair.right, len(pair.right), use])
        if pair.ngs:
            use = f"sequencing primer, product {pair.ngs.product_size} bp"
            rows.append([f"{pair.id}_ngs_left", pair.ngs.left, len(pair.ngs.left), use])
            rows.append([f"{pair.id}_ngs_right", pair.ngs.right, len(pair.ngs.right), use])
    return table(["name", "sequence", "length", "use"], [*rows, *_further(report)])


def _further(report: KnockoutReport) -> list[list[Cell]]:
    rows: list[list[Cell]] = []
    for place in report.off_target_primers:
        if place.pair:
            use = f"off-target primer for {' '.join(place.guides)}"
            use += f", product {place.pair.product_size} bp"
            rows.append([f"{place.id}_left", place.pair.left, len(place.pair.left), use])
            rows.append([f"{place.id}_right", place.pair.right, len(place.pair.right), use])
    for row in report.donors or []:
        if row.donor:
            use = "donor for repair, one strand, without an insert"
            rows.append([f"{row.id}_donor", row.donor.sequence, len(row.donor.sequence), use])
    return rows


def off_targets_csv(report: KnockoutReport) -> bytes:
    """The worst sites of every candidate, worst first."""
    head = ["guide", "chosen", "genome", "contig", "start", "end", "strand", "protospacer", "pam"]
    head += ["mismatches", "cfd", "mit"]
    rows: list[list[Cell]] = []
    for one in report.candidates:
        for site in one.off_targets.worst_sites if one.off_targets else []:
            strand = "forward" if site.strand == "+" else "reverse"
            place: list[Cell] = [one.id, "yes" if one.id in report.chosen else "no", site.genome]
            place += [site.contig, site.start + 1, site.start + 20, strand]
            rows.append([*place, site.protospacer, site.pam, site.mismatches, site.cfd, site.mit])
    return table(head, rows)


def table(head: Sequence[str], rows: Iterable[Sequence[Cell]]) -> bytes:
    """A CSV file (RFC 4180 quoting, line feeds) whose text cells run nowhere."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([safe(cell) for cell in row] for row in rows)
    return out.getvalue().encode()


def safe(cell: Cell) -> Cell:
    """The cell, with an apostrophe in front of text that could be read as a formula."""
    if isinstance(cell, str) and cell.lstrip(" \n").startswith(_FORMULA):
        return "'" + cell
    return cell
