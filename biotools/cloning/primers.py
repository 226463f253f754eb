"""Validation primers around each cut: Sanger/T7E1 amplicon and an optional NGS amplicon.

primer3 (Untergasser et al., Nucleic Acids Res 2012;40:e115) proposes the pairs; ours is what they
must satisfy: an off-centre cut, so that the two T7E1 bands part on a gel, long enough fragments,
and one product only over the record and the background genomes.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field

from biotools.cloning.layout import Candidate, Limits, long_candidates, ngs_candidates
from biotools.cloning.uniqueness import Pair, count_products, distinct_contigs
from biotools.errors import ToolInputError
from biotools.genomes import read_contigs
from biotools.params import FilePath
from biotools.records import Record, load_record


class CutTarget(BaseModel):
    """A cut to amplify: it lies between forward bases cut-1 and cut (0-based)."""

    id: str
    cut: Annotated[int, Field(ge=0)]


class NgsAmplicon(BaseModel):
    """A short amplicon for deep sequencing; columns as in PrimerPair."""

    left: str
    right: str
    left_tm: float
    right_tm: float
    left_start: int
    right_end: int
    product_size: int


class PrimerPair(BaseModel):
    """Primers 5' to 3'; left_start/right_end span the product, 0-based half-open; Tm in deg C."""

    id: str
    left: str
    right: str
    left_tm: float
    right_tm: float
    left_start: int
    right_end: int
    product_size: int
    fragments: list[int] = Field(description="T7E1 fragment sizes 5' and 3' of the cut, bp")
    ngs: NgsAmplicon | None = Field(description="amplicon of at most 300 bp, if one is unique")
    tried: int = Field(description="which candidate pair was the first with one product, from 1")


class FailedTarget(BaseModel):
    """A target without primers."""

    id: str
    reason: str


class PrimerDesign(BaseModel):
    """One pair per target that has one."""

    pairs: list[PrimerPair]
    failed: list[FailedTarget]
    searched: list[str] = Field(description="sequences in which the product is unique")


def design_primers(
    file: FilePath,
    targets: Annotated[list[CutTarget], Field(min_length=1, max_length=100)],
    background_files: list[FilePath] | None = None,
    product_min: Annotated[int, Field(ge=100, le=3000)] = 300,
    product_max: Annotated[int, Field(ge=150, le=3000)] = 600,
    cut_margin: Annotated[int, Field(ge=50, le=1000)] = 100,
    own_locus_files: list[FilePath] | None = None,
) -> PrimerDesign:
    """Design one primer pair per cut, with exactly one product over record and background.

    The cut is off-centre (fragments differ by 50 bp or more) and `cut_margin` or more from both
    ends. A target without such a pair is listed in `failed`, with the reason. A background contig
    identical to the record, or to one of an earlier file, is not counted again. A genome that
    holds the record's own locus goes to `own_locus_files`: there the pair must have one product
    as well.
    Errors: no_primers (no target has a pair), invalid_argument, loader errors.
    """
    record = load_record(file)
    limits = limits_for(product_min, product_max, cut_margin)
    _check_targets(record, targets)
    candidates = {
        target.id: (
            long_candidates(record.sequence, target.cut, limits),
            ngs_candidates(record.sequence, target.cut),
        )
        for target in targets
    }
    backgrounds = background_files or []
    own = own_locus_files or []
    proposed = [one for both in candidates.values() for kind in both for one in kind]
    unique = unique_pairs(_contig_groups(record, backgrounds, own), proposed)
    return _report([record.id, *_names(backgrounds + own)], targets, candidates, unique)


def limits_for(product_min: int, product_max: int, cut_margin: int) -> Limits:
    """The limits, if they leave room. Errors: invalid_argument."""
    limits = Limits(product_min, product_max, cut_margin)
    if product_min > product_max or limits.short_arm_max < cut_margin:
        raise ToolInputError(
            "invalid_argument",
            f"Products of {product_min}-{product_max} bp leave no room for a cut off-centre and "
            f"{cut_margin} bp from both ends.",
            f"Allow products of at least {2 * cut_margin + limits.offset} bp.",
        )
    return limits


def _check_targets(record: Record, targets: list[CutTarget]) -> None:
    if len({target.id for target in targets}) != len(targets):
        raise ToolInputError("invalid_argument", "Two targets have one id.", "Name each once.")
    for target in targets:
        if target.cut > len(record.sequence):
            raise ToolInputError(
                "invalid_argument",
                f"Cut {target.cut} of {target.id} lies outside {record.id}.",
                f"The record has {len(record.sequence)} bases.",
            )


_Candidates = tuple[list[Candidate], list[Candidate]]


def _pair(candidate: Candidate) -> Pair:
    return Pair(candidate.left, candidate.right)


def unique_pairs(
    groups: Iterable[Iterator[bytes]], candidates: Iterable[Candidate]
) -> frozenset[Pair]:
    """The pairs with exactly one product in each group of contigs."""
    left = {_pair(one) for one in candidates}
    for contigs in groups:
        counts = count_products(sorted(left), contigs)
        left = {pair for pair, count in counts.items() if count == 1}
    return frozenset(left)


def _contig_groups(
    record: Record, backgrounds: list[str], own_locus: list[str]
) -> Iterator[Iterator[bytes]]:
    own = record.sequence.encode("ascii")
    yield distinct_contigs(chain([[own]], map(sequences, backgrounds)))
    yield from map(sequences, own_locus)


def sequences(path: str) -> Iterator[bytes]:
    """The contigs of a genome file, one after the other."""
    return (sequence for _, sequence in read_contigs(path))


def _names(paths: list[str]) -> list[str]:
    return [Path(path).name for path in paths]


def _report(
    searched: list[str],
    targets: list[CutTarget],
    candidates: dict[str, _Candidates],
    unique: frozenset[Pair],
) -> PrimerDesign:
    pairs: list[PrimerPair] = []
    failed: list[FailedTarget] = []
    for target in targets:
        long, ngs = candidates[target.id]
        chosen = first_unique(long, unique)
        if chosen is None:
            failed.append(FailedTarget(id=target.id, reason=why_none(len(long))))
        else:
            pairs.append(_primer_pair(target, long.index(chosen), chosen, _ngs(ngs, unique)))
    if not pairs:
        reasons = "; ".join(f"{one.id}: {one.reason}" for one in failed)
        raise ToolInputError(
            "no_primers", f"No target has a primer pair. {reasons}.", "Allow a longer product."
        )
    return PrimerDesign(pairs=pairs, failed=failed, searched=searched)


def first_unique(candidates: list[Candidate], unique: frozenset[Pair]) -> Candidate | None:
    """The best of the candidates whose pair is among the unique ones."""
    return next((one for one in candidates if _pair(one) in unique), None)


def why_none(proposed: int) -> str:
    """Why no pair is left of those proposed, in words."""
    if proposed == 0:
        return "primer3 finds no pair around the cut within the limits"
    return (
        f"none of the {proposed} pairs proposed has exactly one product in every sequence searched"
    )


def _primer_pair(
    target: CutTarget, index: int, chosen: Candidate, ngs: NgsAmplicon | None
) -> PrimerPair:
    return PrimerPair(
        id=target.id,
        **columns(chosen),
        fragments=[target.cut - chosen.left_start, chosen.right_end - target.cut],
        ngs=ngs,
        tried=index + 1,
    )


def _ngs(candidates: list[Candidate], unique: frozenset[Pair]) -> NgsAmplicon | None:
    chosen = first_unique(candidates, unique)
    return None if chosen is None else NgsAmplicon(**columns(chosen))


def columns(candidate: Candidate) -> dict[str, Any]:
    """The fields that every kind of pair shares."""
    return {
        "left": candidate.left,
        "right": candidate.right,
        "left_tm": candidate.left_tm,
        "right_tm": candidate.right_tm,
        "left_start": candidate.left_start,
        "right_end": candidate.right_end,
        "product_size": candidate.product_size,
    }
