"""Counts what a primer pair amplifies exactly in the record and the background genomes.

A cheap filter while primers are chosen: exact string search, one pass over each contig for all
pairs. The evaluator counts again in its own way.
"""

import hashlib
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from biotools.cancel import check_cancelled
from biotools.cloning.vectors import reverse_complement

MAX_PRODUCT = 3000


@dataclass(frozen=True, slots=True, order=True)
class Pair:
    """Two primers, upper case, each 5' to 3'."""

    left: str
    right: str


def distinct_contigs(files: Iterable[Iterable[bytes]]) -> Iterator[bytes]:
    """The contigs of all files; one that an earlier file holds as well is not repeated.

    A second copy within one file is real DNA and stays.
    """
    seen: Counter[bytes] = Counter()
    for contigs in files:
        here: Counter[bytes] = Counter()
        for contig in contigs:
            digest = hashlib.sha256(contig).digest()
            here[digest] += 1
            if here[digest] > seen[digest]:
                yield contig
        seen |= here


def count_products(
    pairs: Iterable[Pair], contigs: Iterable[bytes], max_product: int = MAX_PRODUCT
) -> dict[Pair, int]:
    """Products of at most `max_product` bp of each pair over all contigs (upper-case bytes).

    Either primer may prime on either strand, so left-left and right-right products count too.
    """
    totals = dict.fromkeys(pairs, 0)
    primers = sorted({primer for pair in totals for primer in (pair.left, pair.right)})
    for contig in contigs:
        forward: dict[str, list[int]] = {}
        reverse: dict[str, list[int]] = {}
        for primer in primers:
            check_cancelled()
            forward[primer] = _positions(contig, primer)
            reverse[primer] = _positions(contig, reverse_complement(primer))
        for pair in totals:
            totals[pair] += _on_contig(pair, forward, reverse, max_product)
    return totals


def _positions(contig: bytes, text: str) -> list[int]:
    """Every start of `text`, overlapping ones too, ascending."""
    needle, found = text.encode("ascii"), []
    at = contig.find(needle)
    while at >= 0:
        found.append(at)
        at = contig.find(needle, at + 1)
    return found


def _on_contig(
    pair: Pair,
    forward: Mapping[str, list[int]],
    reverse: Mapping[str, list[int]],
    max_product: int,
) -> int:
    primers = {pair.left, pair.right}
    starts = [at for primer in primers for at in forward[primer]]
    total = 0
    for primer in primers:
        ends = reverse[primer]
        for start in starts:
            first = bisect_left(ends, start)
            last = bisect_right(ends, start + max_product - len(primer))
            total += max(0, last - first)
    return total
