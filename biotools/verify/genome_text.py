"""Genomes as overlapping blocks of text, so that memory does not grow with the genome."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from pydantic import BaseModel, Field

from biotools.files import file_sha256
from biotools.genomes import Piece, stream_genome

_BLOCK = 1 << 20


class SearchedGenome(BaseModel):
    """What was searched; sha256 is that of the file as it lies on disk."""

    name: str
    sha256: str
    contigs: int
    bases: int
    pam_sites: int = Field(description="sites next to a PAM, both strands, without N")


@dataclass(frozen=True, slots=True)
class Block:
    """Contig bases [begin, begin + len(text)); the first `known` were in the block before."""

    number: int
    contig: str
    begin: int
    known: int
    text: bytes


def searched(path: str) -> SearchedGenome:
    """The entry for this file, figures still at zero."""
    return SearchedGenome(
        name=Path(path).name, sha256=file_sha256(path), contigs=0, bases=0, pam_sites=0
    )


def blocks_of(path: str, overlap: int, block: int = _BLOCK) -> Iterator[Block]:
    """Cut each contig into blocks of about `block` bases that share `overlap` bases.

    So every window of overlap + 1 bases lies in exactly one block.
    """
    for number, pieces in groupby(stream_genome(path), key=lambda piece: piece.number):
        yield from _contig_blocks(number, pieces, overlap, block)


def _contig_blocks(
    number: int, pieces: Iterator[Piece], overlap: int, block: int
) -> Iterator[Block]:
    contig, begin, carry, fresh, size = "", 0, b"", [], 0
    for piece in pieces:
        contig = piece.contig
        fresh.append(piece.sequence)
        size += len(piece.sequence)
        if size >= block:
            text = b"".join([carry, *fresh])
            yield Block(number, contig, begin, len(carry), text)
            kept = min(overlap, len(text))
            begin, carry = begin + len(text) - kept, text[len(text) - kept :]
            fresh, size = [], 0
    if size or begin == 0:
        yield Block(number, contig, begin, len(carry), b"".join([carry, *fresh]))
