"""Runs guides against indexed genomes and gathers counts, score sums and the worst sites."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from biotools.cancel import check_cancelled
from biotools.crispr.chunks import Chunk
from biotools.crispr.packing import NO_PAM, pack_text, pam_table, tri_text, unpack
from biotools.crispr.site_index import Hits
from biotools.crispr.site_scores import cfd_scores, mit_scores, mit_weights

SITE = np.dtype(
    [
        ("guide", np.int32), ("genome", np.int32), ("contig", np.int32), ("start", np.int64),
        ("minus", np.bool_), ("pam", np.uint8), ("packed", np.uint64), ("mismatches", np.uint8),
        ("cfd", np.float64), ("mit", np.float64),
    ]
)  # fmt: skip
Known = set[tuple[str, str, int, bool]]


@dataclass
class Scan:
    """The guides of one call and all that was found for them so far.

    `known` holds the intended targets (spacer, contig, window start, minus), which are left out.
    """

    spacers: Sequence[str]
    pams: Sequence[str]
    known: Known
    max_mismatches: int
    keep: int
    names: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.packed = np.array([pack_text(spacer) for spacer in self.spacers], dtype=np.uint64)
        self.codes = unpack(self.packed)
        self.table = pam_table(self.pams)
        ngg = pam_table(["NGG"]) != NO_PAM
        self._is_ngg = ngg
        size = len(self.spacers)
        self.counts = np.zeros((size, len(self.pams), self.max_mismatches + 1), dtype=np.int64)
        self.cfd_sum = np.zeros(size)
        self.mit_sum = np.zeros(size)
        self.sites = np.empty(0, dtype=SITE)

    def add(self, chunk: Chunk, genome: int) -> None:
        """Search one chunk of the `genome`-th genome."""
        check_cancelled()
        hits = chunk.sites.search(self.packed, self.max_mismatches)
        if len(hits.guide):
            self._take(self._describe(chunk, hits, genome))

    def _describe(self, chunk: Chunk, hits: Hits, genome: int) -> NDArray[np.void]:
        where = chunk.sites.where[hits.site].astype(np.int64)
        segments, starts = chunk.locate(where & 0xFFFFFF)
        found = np.empty(len(where), dtype=SITE)
        found["guide"], found["packed"], found["mismatches"] = (
            hits.guide,
            hits.packed,
            hits.mismatches,
        )
        found["genome"], found["start"] = genome, starts
        found["minus"], found["pam"] = (where >> 24) & 1, where >> 25
        found["contig"] = self._name_numbers(chunk)[segments]
        return self._without_known(found)

    def _name_numbers(self, chunk: Chunk) -> NDArray[np.int32]:
        numbers = []
        for segment in chunk.segments:
            if not self.names or self.names[-1] != segment.contig:
                self.names.append(segment.contig)
            numbers.append(len(self.names) - 1)
        return np.array(numbers, dtype=np.int32)

    def _without_known(self, found: NDArray[np.void]) -> NDArray[np.void]:
        keep = np.ones(len(found), dtype=np.bool_)
        for number in np.flatnonzero(found["mismatches"] == 0).tolist():
            site = found[number]
            spacer, contig = self.spacers[site["guide"]], self.names[site["contig"]]
            keep[number] = (
                spacer,
                contig,
                int(site["start"]),
                bool(site["minus"]),
            ) not in self.known
        return found[keep]

    def _take(self, found: NDArray[np.void]) -> None:
        guides, codes = self.codes[found["guide"]], unpack(found["packed"])
        found["cfd"] = cfd_scores(guides, codes, found["pam"])
        found["mit"] = mit_scores(guides, codes)
        np.add.at(self.counts, (found["guide"], self.table[found["pam"]], found["mismatches"]), 1)
        mit = mit_weights(found["mit"], self._is_ngg[found["pam"]])
        size = len(self.spacers)
        self.cfd_sum += np.bincount(found["guide"], 100 * found["cfd"], minlength=size)
        self.mit_sum += np.bincount(found["guide"], mit, minlength=size)
        self.sites = _worst(np.concatenate((self.sites, found)), self.keep)


def _worst(sites: NDArray[np.void], keep: int) -> NDArray[np.void]:
    """The `keep` worst sites of each guide: by CFD, MIT, mismatches, then place."""
    order = np.lexsort(
        (
            sites["minus"], sites["start"], sites["contig"], sites["genome"],
            sites["mismatches"], -sites["mit"], -sites["cfd"], sites["guide"],
        )
    )  # fmt: skip
    ranked = sites[order]
    first = np.searchsorted(ranked["guide"], ranked["guide"], side="left")
    worst: NDArray[np.void] = ranked[np.arange(len(ranked)) - first < keep]
    return worst


def spell(packed: int) -> str:
    """The 20 bases of a packed site."""
    return "".join("ACGT"[packed >> shift & 3] for shift in range(38, -1, -2))


def sites_of(scan: Scan, guide: int) -> Iterator[tuple[NDArray[np.void], str, str]]:
    """The kept sites of one guide, worst first, with the contig's name and the PAM."""
    for site in scan.sites[scan.sites["guide"] == guide]:
        yield site, scan.names[site["contig"]], tri_text(int(site["pam"]))
