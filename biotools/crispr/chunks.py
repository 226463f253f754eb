"""Cuts a genome into chunks of bounded size and indexes the PAM sites of each.

A chunk holds up to 8 Mi bases of one or many contigs. Windows that span a cut are seen once: the
last 22 bases of a piece are carried over to the next one of the same contig.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from biotools.cancel import check_cancelled
from biotools.crispr.packing import WINDOW, Sites, find_sites
from biotools.crispr.site_index import SiteIndex
from biotools.genomes import Piece

CHUNK_BASES = 1 << 23
# A block's intermediate arrays (about 20 bytes a base) stay in the processor's second-level cache.
_BLOCK = 1 << 16
_OVERLAP = WINDOW - 1


class Segment(NamedTuple):
    """Chunk positions from `begin` on belong to `contig`, from its base `start` on."""

    begin: int
    contig: str
    start: int


class Chunk(NamedTuple):
    """An indexed chunk and the map from its positions back to contigs, in order of position."""

    sites: SiteIndex
    segments: list[Segment]

    def locate(self, positions: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
        """For windows at these chunk positions: segment numbers, and starts in the contig."""
        begins = np.array([segment.begin for segment in self.segments], dtype=np.int64)
        starts = np.array([segment.start for segment in self.segments], dtype=np.int64)
        found = np.searchsorted(begins, positions, side="right") - 1
        return found, starts[found] + positions - begins[found]


@dataclass
class Tally:
    """What was read: filled while the chunks are made."""

    contigs: int = 0
    bases: int = 0
    pam_sites: int = 0

    def copy(self) -> "Tally":
        """The same figures, apart."""
        return replace(self)

    def update(self, other: "Tally") -> None:
        """Take over the figures of another one."""
        self.contigs, self.bases, self.pam_sites = other.contigs, other.bases, other.pam_sites


@dataclass
class _Open:
    """The chunk being filled."""

    length: int = 0
    segments: list[Segment] = field(default_factory=list)
    sites: list[Sites] = field(default_factory=list)

    def close(self) -> Chunk:
        packed = np.concatenate([part.packed for part in self.sites])
        where = np.concatenate([part.where for part in self.sites])
        return Chunk(SiteIndex(Sites(packed, where)), self.segments)


def index_chunks(
    pieces: Iterable[Piece], table: NDArray[np.uint8], tally: Tally
) -> Iterator[Chunk]:
    """Yield indexed chunks; `table` is the PAM table. `tally` is complete at the end."""
    current, tail, number = _Open(), b"", -1
    for piece in pieces:
        if piece.number != number:
            number, tail = piece.number, b""
            tally.contigs += 1
        tally.bases += len(piece.sequence)
        stretch, start = tail + piece.sequence, piece.start - len(tail)
        tail = stretch[-_OVERLAP:]
        if current.sites and current.length + len(stretch) > CHUNK_BASES:
            yield current.close()
            current = _Open()
        current.segments.append(Segment(current.length, piece.contig, start))
        for sites in _block_sites(stretch, current.length, table):
            current.sites.append(sites)
            tally.pam_sites += len(sites.packed)
        current.length += len(stretch)
    if current.sites:
        yield current.close()


def _block_sites(stretch: bytes, offset: int, table: NDArray[np.uint8]) -> Iterator[Sites]:
    for low in range(0, max(1, len(stretch) - _OVERLAP), _BLOCK):
        check_cancelled()
        yield find_sites(stretch[low : low + _BLOCK + _OVERLAP], offset + low, table)
