"""Recounts off-targets by comparing characters, as a check on the packed scanner.

Same stated rule, another road: for each block of a contig the windows next to a PAM are gathered
as plain bytes, one column per position, and each column is compared with the guide's letter. The
reverse strand is read in place on the forward text, with the guide turned instead of the genome. A
window holding any base outside A, C, G, T is no site.

Memory: about 60 bytes per base of a block of 1 Mi bases, whatever the genome's size.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from biotools.cancel import check_cancelled
from biotools.errors import ToolInputError
from biotools.params import FilePath, Spacer, Strand
from biotools.verify.bases import opposite_strand, pattern_letters
from biotools.verify.genome_text import SearchedGenome, blocks_of, searched

Bytes = NDArray[np.uint8]
Flags = NDArray[np.bool_]
Pam = Annotated[str, Field(pattern="^[ACGTRYSWKMBDHVNacgtryswkmbdhvn]{3}$")]
_SPACER, _PAM = 20, 3
_WINDOW = _SPACER + _PAM
_STRANDS: tuple[Strand, Strand] = ("+", "-")


class OnTarget(BaseModel):
    """The intended site, not to be counted: protospacer start on the forward strand, 0-based."""

    spacer: Spacer
    contig: str
    start: int
    strand: Strand


class Recount(BaseModel):
    """counts[n]: sites with n mismatches over all PAMs; counts_by_pam the same per PAM."""

    spacer: str
    counts: list[int]
    counts_by_pam: dict[str, list[int]]


class RecountResult(BaseModel):
    """One recount per spacer, and what was searched."""

    guides: list[Recount]
    searched: list[SearchedGenome]


@dataclass(frozen=True, slots=True)
class _Sites:
    """PAM-side sites of one strand in one block: forward protospacer starts, letters, PAM flags."""

    strand: Strand
    starts: NDArray[np.int64]
    columns: Bytes  # (20, sites): forward letters of the protospacer
    pams: Flags  # (patterns, sites)


def recount_off_targets(
    spacers: Annotated[list[Spacer], Field(min_length=1, max_length=1000)],
    genomes: Annotated[list[FilePath], Field(min_length=1)],
    on_target: list[OnTarget] | None = None,
    max_mismatches: Annotated[int, Field(ge=0, le=20)] = 4,
    pams: Annotated[list[Pam], Field(min_length=1, max_length=16)] = ["NGG", "NAG", "NGA"],  # noqa: B006
) -> RecountResult:
    """Count the sites of each spacer with at most `max_mismatches`, on both strands.

    The on-target locations are left out. A site that fits several PAM patterns counts once in
    `counts` and in each pattern's row of `counts_by_pam`.
    Errors: those of the genome loader; invalid_argument (a PAM given twice).
    """
    patterns = [pam.upper() for pam in pams]
    if len(set(patterns)) != len(patterns):
        raise ToolInputError("invalid_argument", "A PAM is given twice.", "Name each PAM once.")
    guides = [spacer.upper() for spacer in spacers]
    # Row 0 counts a site once whatever PAMs it fits; the others follow `patterns`.
    tally = np.zeros((len(guides), 1 + len(patterns), max_mismatches + 1), dtype=np.int64)
    seen = [_search(path, patterns, guides, on_target or [], tally) for path in genomes]
    return RecountResult(
        guides=[_row(guide, tally[n], patterns) for n, guide in enumerate(guides)], searched=seen
    )


def _search(
    path: str,
    patterns: list[str],
    guides: list[str],
    on_target: list[OnTarget],
    tally: NDArray[np.int64],
) -> SearchedGenome:
    """Add the file's sites to `tally`; say what was searched."""
    genome = searched(path)
    for block in blocks_of(path, overlap=_WINDOW - 1):
        check_cancelled()
        genome.contigs = block.number + 1
        genome.bases += len(block.text) - block.known
        skip = _skips(on_target, block.contig)
        text = np.frombuffer(block.text, dtype=np.uint8)
        if len(text) < _WINDOW:
            continue
        for strand in _STRANDS:
            sites = _gather(text, block.begin, strand, patterns)
            genome.pam_sites += len(sites.starts)
            _tally_sites(tally, guides, sites, skip)
    return genome


def _row(guide: str, counts: NDArray[np.int64], patterns: list[str]) -> Recount:
    by_pam = {pam: counts[1 + n].tolist() for n, pam in enumerate(patterns)}
    return Recount(spacer=guide, counts=counts[0].tolist(), counts_by_pam=by_pam)


_Skip = dict[tuple[str, str], set[int]]


def _skips(on_target: list[OnTarget], contig: str) -> _Skip:
    """Starts to leave out on this contig, by (spacer, strand)."""
    out: _Skip = {}
    for site in on_target:
        if site.contig == contig:
            out.setdefault((site.spacer.upper(), site.strand), set()).add(site.start)
    return out


def _gather(block: Bytes, begin: int, strand: Strand, patterns: list[str]) -> _Sites:
    """Windows of the strand next to any PAM, with only plain bases in them."""
    count = len(block) - _WINDOW + 1
    protospacer, pam_at = (0, _SPACER) if strand == "+" else (_PAM, 0)
    flags = np.stack([_pam_flags(block, pam_at, count, strand, pam) for pam in patterns])
    at = np.flatnonzero(flags.any(axis=0) & _plain_windows(block, count))
    columns = np.stack([block[at + protospacer + step] for step in range(_SPACER)])
    return _Sites(strand, at + protospacer + begin, columns, flags[:, at])


def _plain_windows(block: Bytes, count: int) -> Flags:
    odd = np.isin(block, np.frombuffer(b"ACGT", dtype=np.uint8), invert=True)
    total = np.concatenate([[0], np.cumsum(odd, dtype=np.int32)])
    plain: Flags = total[_WINDOW:] == total[:count]
    return plain


def _pam_flags(block: Bytes, pam_at: int, count: int, strand: Strand, pam: str) -> Flags:
    letters = pattern_letters(pam)
    if strand == "-":
        letters = [opposite_strand(allowed) for allowed in reversed(letters)]
    flags = np.ones(count, dtype=np.bool_)
    for step, allowed in enumerate(letters):
        column = block[pam_at + step : pam_at + step + count]
        flags &= np.isin(column, np.frombuffer(allowed.encode("ascii"), dtype=np.uint8))
    return flags


def _tally_sites(tally: NDArray[np.int64], guides: list[str], sites: _Sites, skip: _Skip) -> None:
    limit = tally.shape[2]
    for number, guide in enumerate(guides):
        check_cancelled()
        mismatches = _mismatches(guide, sites)
        kept = np.flatnonzero(mismatches < limit)
        left_out = skip.get((guide, sites.strand))
        if left_out:
            kept = kept[[int(sites.starts[at]) not in left_out for at in kept]]
        tally[number, 0] += np.bincount(mismatches[kept], minlength=limit)
        for row, fits in enumerate(sites.pams, start=1):
            chosen = kept[fits[kept]]
            tally[number, row] += np.bincount(mismatches[chosen], minlength=limit)


def _mismatches(guide: str, sites: _Sites) -> Bytes:
    as_read = guide if sites.strand == "+" else opposite_strand(guide)
    total = np.zeros(len(sites.starts), dtype=np.uint8)
    for column, letter in zip(sites.columns, as_read.encode("ascii"), strict=True):
        total += column != letter
    return total
