"""An index of the PAM sites of a chunk of genome, searched by exact neighbourhoods.

Every site is one uint64: its 40-bit 20-mer above a 24-bit site number. The chunk keeps them sorted
twice, by the PAM-distal and by the PAM-proximal ten bases, with a table of where each of the 4**10
halves begins. Two 20-mers that differ at no more than m positions differ at no more than m // 2 in
the first half, or at no more than m - m // 2 - 1 in the second (pigeonhole). So a guide looks up
every half within that distance (436 and 31 of 1,048,576 at m = 4) and only those sites, about
0.05% of all, are compared in full: XOR, fold the two bits of a base with OR, count the ones.
Nothing is lost: the answer is that of comparing every site.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import combinations, product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from biotools.crispr.packing import Sites

MAX_SITES = 1 << 24
_HALF = 10
_HALVES = 1 << 2 * _HALF
_HALF_MASK = np.uint64(_HALVES - 1)
_EVEN = np.uint64(0x5555555555)
_ID_BITS = np.uint64(24)
_ID_MASK = np.uint64(MAX_SITES - 1)
_HALF_BITS = np.uint64(2 * _HALF)
_MAX_CANDIDATES = 1 << 20


class Hits(NamedTuple):
    """Sites within the allowed distance: guide and site numbers, 20-mer, and mismatches."""

    guide: NDArray[np.intp]
    site: NDArray[np.intp]
    packed: NDArray[np.uint64]
    mismatches: NDArray[np.uint8]

    def pick(self, keep: NDArray[np.bool_]) -> "Hits":
        """The hits where `keep` is true."""
        return Hits(self.guide[keep], self.site[keep], self.packed[keep], self.mismatches[keep])


class _Order(NamedTuple):
    """Sites sorted by one half; `begins[h]` is the first whose half is h."""

    keys: NDArray[np.uint64]
    begins: NDArray[np.int32]


class SiteIndex:
    """The sites of one chunk, ready to be searched for any number of guides."""

    def __init__(self, sites: Sites) -> None:
        if len(sites.packed) > MAX_SITES:
            raise ValueError("a chunk holds at most 2**24 sites")
        self.where = sites.where
        numbers = np.arange(len(sites.packed), dtype=np.uint64)
        self._distal = _sorted((sites.packed << _ID_BITS) | numbers)
        self._proximal = _sorted((_swapped(sites.packed) << _ID_BITS) | numbers)

    @property
    def nbytes(self) -> int:
        """Memory held."""
        orders = (self._distal, self._proximal)
        return self.where.nbytes + sum(o.keys.nbytes + o.begins.nbytes for o in orders)

    def search(self, guides: NDArray[np.uint64], max_mismatches: int) -> Hits:
        """All sites at most `max_mismatches` (0-4) from each packed guide."""
        near = max_mismatches // 2
        parts = _search(self._distal, guides, near, max_mismatches)
        if max_mismatches:
            rest = max_mismatches - near - 1
            for hits in _search(self._proximal, _swapped(guides), rest, max_mismatches):
                # The first search has every site whose distal half differs at `near` or fewer.
                distal = np.bitwise_count(
                    _folded(hits.packed, _swapped(guides)[hits.guide]) & _HALF_MASK
                )
                far = hits.pick(distal > near)
                parts.append(far._replace(packed=_swapped(far.packed)))
        return _joined(parts)


def _joined(parts: Sequence[Hits]) -> Hits:
    return Hits(
        np.concatenate([hits.guide for hits in parts]),
        np.concatenate([hits.site for hits in parts]),
        np.concatenate([hits.packed for hits in parts]),
        np.concatenate([hits.mismatches for hits in parts]),
    )


def _swapped(packed: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The 20-mer with its halves exchanged."""
    swapped: NDArray[np.uint64] = ((packed & _HALF_MASK) << _HALF_BITS) | (packed >> _HALF_BITS)
    return swapped


def _sorted(keys: NDArray[np.uint64]) -> _Order:
    keys.sort()
    counts = np.bincount((keys >> (_ID_BITS + _HALF_BITS)).astype(np.int32), minlength=_HALVES)
    begins = np.zeros(_HALVES + 1, dtype=np.int32)
    np.cumsum(counts, out=begins[1:])
    return _Order(keys, begins)


@lru_cache(maxsize=8)
def _neighbour_masks(distance: int) -> NDArray[np.int32]:
    """XOR masks that lead from a half to every half at most `distance` bases away."""
    masks = [
        sum(change << 2 * place for place, change in zip(places, changes, strict=True))
        for size in range(distance + 1)
        for places in combinations(range(_HALF), size)
        for changes in product((1, 2, 3), repeat=size)
    ]
    return np.array(masks, dtype=np.int32)


def _search(
    order: _Order, guides: NDArray[np.uint64], near: int, max_mismatches: int
) -> list[Hits]:
    """Hits whose first half (in this order) differs at most at `near` places, in batches."""
    halves = (guides >> _HALF_BITS).astype(np.int32)
    found = []
    for low, high in _batches(halves, order, near):
        keys = (halves[low:high, None] ^ _neighbour_masks(near)).ravel()
        begins = order.begins[keys]
        spans = order.begins[keys + 1] - begins
        owners = np.repeat(np.arange(low, high), spans.reshape(high - low, -1).sum(axis=1))
        found.append(_compare(order.keys[_ranges(begins, spans)], owners, guides, max_mismatches))
    return found


def _batches(halves: NDArray[np.int32], order: _Order, near: int) -> Iterator[tuple[int, int]]:
    """Runs of guides with about a million candidates together, to bound the memory."""
    low, total = 0, 0
    for index, half in enumerate(halves):
        keys = half ^ _neighbour_masks(near)
        size = int((order.begins[keys + 1] - order.begins[keys]).sum())
        if total and total + size > _MAX_CANDIDATES:
            yield low, index
            low, total = index, 0
        total += size
    yield low, len(halves)


def _ranges(begins: NDArray[np.int32], lengths: NDArray[np.int32]) -> NDArray[np.intp]:
    """The numbers of all ranges [begin, begin + length), one after the other."""
    ends = np.cumsum(lengths, dtype=np.intp)
    total = int(ends[-1]) if len(ends) else 0
    shift = begins.astype(np.intp) - ends + lengths
    return np.repeat(shift, lengths) + np.arange(total)


def _folded(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One bit for every base that differs."""
    differing = first ^ second
    folded: NDArray[np.uint64] = (differing | (differing >> np.uint64(1))) & _EVEN
    return folded


def _compare(
    keys: NDArray[np.uint64],
    owners: NDArray[np.intp],
    guides: NDArray[np.uint64],
    max_mismatches: int,
) -> Hits:
    packed = keys >> _ID_BITS
    mismatches = np.bitwise_count(_folded(packed, guides[owners]))
    keep = mismatches <= max_mismatches
    sites = (keys[keep] & _ID_MASK).astype(np.intp)
    return Hits(owners[keep], sites, packed[keep], mismatches[keep])
