"""Primers around off-target sites, to see at the bench whether a guide cuts there as well."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, Field

from biotools.cloning.layout import Candidate, Limits, long_candidates
from biotools.cloning.primers import (
    FailedTarget,
    columns,
    first_unique,
    limits_for,
    sequences,
    unique_pairs,
    why_none,
)
from biotools.cloning.uniqueness import Pair, distinct_contigs
from biotools.errors import ToolInputError
from biotools.genomes import read_contigs
from biotools.params import FilePath


class GenomeSite(BaseModel):
    """A place that may be cut: between bases cut - 1 and cut of the contig (0-based, forward)."""

    id: str
    contig: str
    cut: Annotated[int, Field(ge=1)]


class SitePrimers(BaseModel):
    """Primers 5' to 3'; left_start/right_end span the product on the contig, 0-based half-open."""

    id: str
    left: str
    right: str
    left_tm: float
    right_tm: float
    left_start: int
    right_end: int
    product_size: int
    fragments: list[int] = Field(description="T7E1 fragment sizes 5' and 3' of the cut, bp")


class SitePrimerDesign(BaseModel):
    """One pair per site that has one; `failed` says why the others have none."""

    pairs: list[SitePrimers]
    failed: list[FailedTarget]


def design_site_primers(
    genome: FilePath,
    sites: Annotated[list[GenomeSite], Field(min_length=1, max_length=100)],
    background_files: list[FilePath] | None = None,
    product_min: Annotated[int, Field(ge=100, le=3000)] = 300,
    product_max: Annotated[int, Field(ge=150, le=3000)] = 600,
    cut_margin: Annotated[int, Field(ge=50, le=1000)] = 100,
) -> SitePrimerDesign:
    """Design one primer pair around each site of a genome, with one product in all files.

    Amplicons keep the rules of `design_primers`: the cut is off-centre and `cut_margin` or more
    from both ends. A contig that an earlier file holds as well is not counted again. A site
    without such a pair, or on a contig that is not there or there twice, is listed in `failed`,
    with the reason. Errors: invalid_argument (two sites with one id), those of the genome loader.
    """
    if len({site.id for site in sites}) != len(sites):
        raise ToolInputError("invalid_argument", "Two sites have one id.", "Name each once.")
    limits = limits_for(product_min, product_max, cut_margin)
    found = _candidates(genome, sites, limits)
    candidates = {name: pairs for name, pairs in found.items() if isinstance(pairs, list)}
    files = [genome, *(background_files or [])]
    proposed = [one for pairs in candidates.values() for one in pairs]
    unique = unique_pairs([distinct_contigs(map(sequences, files))], proposed)
    return _report(sites, found, unique)


def _candidates(
    genome: str, sites: list[GenomeSite], limits: Limits
) -> dict[str, list[Candidate] | str]:
    """By site: the pairs proposed, in the coordinates of the contig, or why there are none."""
    found: dict[str, list[Candidate] | str] = {
        site.id: f"the genome has no contig {site.contig!r}" for site in sites
    }
    met: set[str] = set()
    for contig, sequence in read_contigs(genome):
        for site in sites:
            if site.contig == contig:
                found[site.id] = (
                    f"the genome has several contigs {contig!r}"
                    if contig in met
                    else _around(sequence, site.cut, limits)
                )
        met.add(contig)
    return found


def _around(sequence: bytes, cut: int, limits: Limits) -> list[Candidate] | str:
    if cut > len(sequence):
        return f"the contig has {len(sequence)} bases only"
    return long_candidates(sequence.decode("ascii"), cut, limits)


def _report(
    sites: list[GenomeSite],
    found: Mapping[str, list[Candidate] | str],
    unique: frozenset[Pair],
) -> SitePrimerDesign:
    design = SitePrimerDesign(pairs=[], failed=[])
    for site in sites:
        proposed = found[site.id]
        chosen = None if isinstance(proposed, str) else first_unique(proposed, unique)
        if chosen is None:
            reason = proposed if isinstance(proposed, str) else why_none(len(proposed))
            design.failed.append(FailedTarget(id=site.id, reason=reason))
            continue
        fragments = [site.cut - chosen.left_start, chosen.right_end - site.cut]
        design.pairs.append(SitePrimers(id=site.id, **columns(chosen), fragments=fragments))
    return design
