"""Exact in-silico PCR over whole genomes: one product only, of the claimed size.

Primer sites are found by narrowing down numpy byte comparisons base by base, not by text search,
so that a fault in the designer's uniqueness filter is not repeated here.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field

from biotools.cancel import check_cancelled
from biotools.params import FilePath
from biotools.verify.bases import opposite_strand
from biotools.verify.genome_text import Block, blocks_of

Positions = NDArray[np.int64]
_Sites = dict[str, Positions]
Primer = Annotated[str, Field(pattern="^[ACGTacgt]{12,60}$", description="5' to 3'")]
_SHOWN = 20


class ClaimedPair(BaseModel):
    """A primer pair as designed; product_size in bp."""

    id: str
    left: Primer
    right: Primer
    product_size: int


class Product(BaseModel):
    """One product; start on the forward strand, 0-based; size in bp with both primers."""

    genome: str
    contig: str
    start: int
    size: int


class PairCheck(BaseModel):
    """What the pair amplifies."""

    id: str
    ok: bool
    products: list[Product] = Field(description="at most 20; product_count counts them all")
    product_count: int
    reason: str


class PairChecks(BaseModel):
    """One check per pair, in the order given."""

    checks: list[PairCheck]
    max_product: int


def amplify(
    genomes: Annotated[list[FilePath], Field(min_length=1)],
    pairs: Annotated[list[ClaimedPair], Field(min_length=1, max_length=1000)],
    max_product: Annotated[int, Field(ge=50, le=20_000)] = 3000,
) -> PairChecks:
    """Amplify each pair in all genomes together, both strands, exact matches only.

    ok: exactly one product of at most `max_product` bp over all genomes, of the claimed size.
    Either primer may prime at both ends. A contig that an earlier file holds as well (same
    sequence) is searched once.
    A genome that holds the record's own locus has a product of its own: check it in its own call.
    Errors: those of the genome loader.
    """
    products: list[list[Product]] = [[] for _ in pairs]
    seen: Counter[bytes] = Counter()
    for path in genomes:
        here: Counter[bytes] = Counter()
        for contig, digest, sites in _contig_sites(path, _primers(pairs)):
            here[digest] += 1
            # A second copy within one file is real DNA; only a file's repeat of another is not.
            if here[digest] > seen[digest]:
                for pair, found in zip(pairs, products, strict=True):
                    spans = _spans(pair, sites, max_product)
                    found += [
                        Product(genome=Path(path).name, contig=contig, start=start, size=size)
                        for start, size in spans
                    ]
        seen |= here
    return PairChecks(
        checks=[_verdict(pair, found) for pair, found in zip(pairs, products, strict=True)],
        max_product=max_product,
    )


def _primers(pairs: list[ClaimedPair]) -> list[str]:
    return sorted({primer.upper() for pair in pairs for primer in (pair.left, pair.right)})


def _contig_sites(path: str, primers: list[str]) -> Iterator[tuple[str, bytes, _Sites]]:
    """(name, SHA-256 of the sequence, where each word primes) of every contig of the file.

    A word is a primer or its opposite strand; positions are forward starts, ascending.
    """
    words = sorted({*primers, *map(opposite_strand, primers)})
    blocks = blocks_of(path, overlap=max(map(len, words)) - 1)
    for _, group in groupby(blocks, key=lambda block: block.number):
        digest, name = hashlib.sha256(), ""
        parts: dict[str, list[Positions]] = {word: [] for word in words}
        for block in group:
            digest.update(block.text[block.known :])
            name = block.contig
            for word in words:
                check_cancelled()
                parts[word].append(_find(block, word))
        sites = {word: np.concatenate(found) for word, found in parts.items()}
        yield name, digest.digest(), sites


def _find(block: Block, word: str) -> Positions:
    """Starts of `word` in the block, but for those that lay in the block before as well."""
    text = np.frombuffer(block.text, dtype=np.uint8)
    letters = np.frombuffer(word.encode("ascii"), dtype=np.uint8)
    first = max(0, block.known - len(letters) + 1)
    last = len(text) - len(letters) + 1
    alive = np.flatnonzero(text[first : max(first, last)] == letters[0]) + first
    for step in range(1, len(letters)):
        alive = alive[text[alive + step] == letters[step]]
    return alive + block.begin


def _spans(pair: ClaimedPair, sites: _Sites, max_product: int) -> list[tuple[int, int]]:
    """(start, size) of every product of the pair on one contig."""
    primers = _primers([pair])
    begins = np.sort(np.concatenate([sites[primer] for primer in primers]))
    spans: list[tuple[int, int]] = []
    for primer in primers:
        for site in sites[opposite_strand(primer)].tolist():
            end = site + len(primer)
            reached = begins[(begins <= site) & (begins >= end - max_product)]
            spans += [(begin, end - begin) for begin in reached.tolist()]
    return sorted(spans)


def _verdict(pair: ClaimedPair, products: list[Product]) -> PairCheck:
    return PairCheck(
        id=pair.id,
        ok=len(products) == 1 and products[0].size == pair.product_size,
        products=products[:_SHOWN],
        product_count=len(products),
        reason=_reason(pair, products),
    )


def _reason(pair: ClaimedPair, products: list[Product]) -> str:
    if not products:
        return "no product: the primers do not match these genomes"
    if len(products) > 1:
        where = ", ".join(f"{one.contig}:{one.start + 1} ({one.size} bp)" for one in products[:3])
        return f"{len(products)} products, expected one: {where}"
    if products[0].size != pair.product_size:
        return f"the product has {products[0].size} bp, not {pair.product_size}"
    return "one product of the claimed size"
