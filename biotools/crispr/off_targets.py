"""Tool: every place in the given genomes that a guide could cut besides its target."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, Field

from biotools.files import file_sha256
from biotools.params import FilePath, Spacer, Strand

if TYPE_CHECKING:
    from biotools.crispr.scan import Scan

_PAMS = ["NGG", "NAG", "NGA"]
Pam = Annotated[str, Field(pattern="^[ACGTRYSWKMBDHVN]{3}$", description="3 nt, IUPAC letters")]


class OnTarget(BaseModel):
    """Where a spacer is meant to cut; `start` is the protospacer's, on the forward strand."""

    spacer: Spacer
    contig: str
    start: Annotated[int, Field(ge=0)]
    strand: Strand


_NO_TARGETS: list[OnTarget] = []


class OffTargetSite(BaseModel):
    """A site within the allowed mismatches. Protospacer and PAM are read on the site's strand."""

    genome: str
    contig: str
    start: Annotated[int, Field(description="of the protospacer: 0-based, forward strand")]
    strand: Strand
    protospacer: str
    pam: str
    mismatches: int
    cfd: Annotated[float, Field(description="CFD score, 0-1 (Doench 2016)")]
    mit: Annotated[float, Field(description="MIT single-hit score, 0-100, no PAM term (Hsu 2013)")]


class GuideOffTargets(BaseModel):
    """All off-targets of one guide by number of mismatches, and the worst of them."""

    spacer: str
    counts: Annotated[list[int], Field(description="sites with 0, 1, ... mismatches, all PAMs")]
    counts_by_pam: dict[str, list[int]]
    cfd_specificity: float
    mit_specificity: float
    sites: Annotated[list[OffTargetSite], Field(description="worst first, by CFD")]
    truncated: Annotated[bool, Field(description="true if there are more sites than listed")]


class SearchedGenome(BaseModel):
    """What was searched: nothing is known about any other sequence."""

    name: str
    sha256: Annotated[str, Field(description="of the file")]
    contigs: int
    bases: int
    pam_sites: int


class OffTargets(BaseModel):
    """Off-targets per guide, in the order asked."""

    guides: list[GuideOffTargets]
    searched: list[SearchedGenome]


def find_off_targets(
    spacers: Annotated[list[Spacer], Field(min_length=1, max_length=5000)],
    genomes: Annotated[list[FilePath], Field(min_length=1)],
    on_target: list[OnTarget] = _NO_TARGETS,
    max_mismatches: Annotated[int, Field(ge=0, le=4)] = 4,
    pams: Annotated[list[Pam], Field(min_length=1, max_length=16)] = _PAMS,
    sites_per_guide: Annotated[int, Field(ge=0, le=10000)] = 100,
) -> OffTargets:
    """Find every site within max_mismatches of each spacer, exactly, on both strands.

    A site is 20 bases followed by one of the PAMs (the first that fits counts). Windows with a
    base other than A, C, G, T are no sites; bulges are not searched. The places in on_target are
    left out. Specificity is 100 / (100 + sum of site scores on 0-100), in percent: CFD over all
    sites with its own PAM factor; MIT with other PAMs than NGG at one fifth, ignored below 1.
    A genome file given twice is searched once.
    """
    from biotools.crispr.chunks import Tally
    from biotools.crispr.genome_cache import CACHE
    from biotools.crispr.scan import Scan

    upper = [spacer.upper() for spacer in spacers]
    wanted = list(dict.fromkeys(pams))
    known = {_known(target) for target in on_target}
    scan = Scan(upper, wanted, known, max_mismatches, sites_per_guide)
    searched: dict[str, SearchedGenome] = {}
    for path in genomes:
        sha256 = file_sha256(path)
        if sha256 in searched:
            continue
        tally = Tally()
        for chunk in CACHE.chunks(path, sha256, wanted, tally):
            scan.add(chunk, len(searched))
        searched[sha256] = SearchedGenome(
            name=Path(path).name,
            sha256=sha256,
            contigs=tally.contigs,
            bases=tally.bases,
            pam_sites=tally.pam_sites,
        )
    names = [genome.name for genome in searched.values()]
    return OffTargets(
        guides=[_report(scan, number, names) for number in range(len(upper))],
        searched=list(searched.values()),
    )


def _known(target: OnTarget) -> tuple[str, str, int, bool]:
    """The target as the scan sees it: a window, whose PAM comes first on the minus strand."""
    minus = target.strand == "-"
    return target.spacer.upper(), target.contig, target.start - (3 if minus else 0), minus


def _report(scan: "Scan", guide: int, genomes: list[str]) -> GuideOffTargets:
    from biotools.crispr.scan import sites_of, spell
    from biotools.crispr.site_scores import specificity

    counts = scan.counts[guide]
    sites = [
        OffTargetSite(
            genome=genomes[site["genome"]],
            contig=contig,
            start=int(site["start"]) + (3 if site["minus"] else 0),
            strand="-" if site["minus"] else "+",
            protospacer=spell(int(site["packed"])),
            pam=pam,
            mismatches=int(site["mismatches"]),
            cfd=round(float(site["cfd"]), 9),
            mit=round(float(site["mit"]), 9),
        )
        for site, contig, pam in sites_of(scan, guide)
    ]
    return GuideOffTargets(
        spacer=scan.spacers[guide],
        counts=counts.sum(axis=0).tolist(),
        counts_by_pam={pam: counts[row].tolist() for row, pam in enumerate(scan.pams)},
        cfd_specificity=round(specificity(float(scan.cfd_sum[guide])), 6),
        mit_specificity=round(specificity(float(scan.mit_sum[guide])), 6),
        sites=sites,
        truncated=int(counts.sum()) > len(sites),
    )
