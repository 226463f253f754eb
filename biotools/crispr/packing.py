"""Finds PAM sites in a stretch of DNA and packs each 20-mer into 40 bits (2 bits a base).

A=0 C=1 G=2 T=3, so that 3 - code is the complement. Position 1 (PAM-distal) takes the highest two
bits. Packing doubles the window (1, 2, 4, 8, 16 bases) over the whole stretch, which costs six
passes over small integers instead of twenty over 64-bit ones. A 23-base window holding anything
but A, C, G, T is not a site.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SPACER = 20
WINDOW = 23
BASES = "ACGT"
_IUPAC = {
    "A": "A", "C": "C", "G": "G", "T": "T", "R": "AG", "Y": "CT", "S": "CG", "W": "AT",
    "K": "GT", "M": "AC", "B": "CGT", "D": "AGT", "H": "ACT", "V": "ACG", "N": "ACGT",
}  # fmt: skip
NO_PAM = 255

_CODES = np.full(256, 4, dtype=np.uint8)
for _code, _base in enumerate(BASES):
    _CODES[ord(_base)] = _code

# A trinucleotide code is 6 bits, first base highest. Its reverse complement, by table:
_TRI = np.arange(64, dtype=np.uint8)
_REVERSED = (((3 - (_TRI & 3)) << 4) | ((3 - ((_TRI >> 2) & 3)) << 2) | (3 - (_TRI >> 4))).astype(
    np.uint8
)


class Sites(NamedTuple):
    """PAM sites of one stretch, in order of window start, plus strand before minus.

    packed: uint64, 40 bits; where: uint32 = window start | minus << 24 | PAM code << 25.
    """

    packed: NDArray[np.uint64]
    where: NDArray[np.uint32]


def pam_table(pams: Sequence[str]) -> NDArray[np.uint8]:
    """For each of the 64 trinucleotides, the index of the first PAM pattern it fits, or NO_PAM."""
    table = np.full(64, NO_PAM, dtype=np.uint8)
    for tri in range(64):
        text = tri_text(tri)
        for index, pam in enumerate(pams):
            if all(base in _IUPAC[letter] for base, letter in zip(text, pam, strict=True)):
                table[tri] = index
                break
    return table


def tri_text(tri: int) -> str:
    """The three bases of a trinucleotide code."""
    return BASES[tri >> 4] + BASES[(tri >> 2) & 3] + BASES[tri & 3]


def pack_text(spacer: str) -> int:
    """The 40-bit code of 20 bases."""
    code = 0
    for base in spacer:
        code = code << 2 | BASES.index(base)
    return code


def unpack(packed: NDArray[np.uint64]) -> NDArray[np.uint8]:
    """Codes 0..3 of shape (n, 20), position 1 first."""
    shifts = np.arange(38, -1, -2, dtype=np.uint64)
    return ((packed[:, None] >> shifts) & np.uint64(3)).astype(np.uint8)


def find_sites(sequence: bytes, offset: int, table: NDArray[np.uint8]) -> Sites:
    """All sites whose window lies in `sequence`; `offset` is added to the window starts."""
    codes = _CODES[np.frombuffer(sequence, dtype=np.uint8)]
    count = len(codes) - WINDOW + 1
    if count <= 0:
        return Sites(np.empty(0, np.uint64), np.empty(0, np.uint32))
    clean = _clean_windows(codes, count)
    codes &= 3
    tri = (codes[:-2] << 4) | (codes[1:-1] << 2) | codes[2:]
    plus = table[tri[SPACER : SPACER + count]] != NO_PAM
    minus = table[_REVERSED][tri[:count]] != NO_PAM
    if clean is not None:
        plus &= clean
        minus &= clean
    forward, backward = np.flatnonzero(plus), np.flatnonzero(minus)
    packed = np.concatenate(
        (_pack_at(codes, forward), _pack_at(3 - codes[::-1], len(codes) - WINDOW - backward))
    )
    pam = np.concatenate((tri[forward + SPACER], _REVERSED[tri[backward]])).astype(np.uint32)
    where = np.concatenate((forward, backward)).astype(np.uint32) + np.uint32(offset)
    where |= pam << np.uint32(25)
    where[len(forward) :] |= np.uint32(1 << 24)
    return Sites(packed, where)


def _clean_windows(codes: NDArray[np.uint8], count: int) -> NDArray[np.bool_] | None:
    """Which windows hold A, C, G and T only; None if all do."""
    foreign = codes > 3
    if not foreign.any():
        return None
    seen = np.concatenate((np.zeros(1, np.int32), np.cumsum(foreign, dtype=np.int32)))
    clean: NDArray[np.bool_] = seen[WINDOW:] == seen[:count]
    return clean


def _pack_at(codes: NDArray[np.uint8], starts: NDArray[np.intp]) -> NDArray[np.uint64]:
    """Pack the 20 bases from each start."""
    two = (codes[:-1] << 2) | codes[1:]
    four = (two[:-2] << 4) | two[2:]
    eight = (four[:-4].astype(np.uint16) << 8) | four[4:]
    sixteen = (eight[:-8].astype(np.uint32) << 16) | eight[8:]
    packed: NDArray[np.uint64] = sixteen[starts].astype(np.uint64) << np.uint64(8)
    packed |= four[starts + 16]
    return packed
