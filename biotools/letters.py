"""Which letters a DNA sequence may hold, and telling a protein from DNA."""

from typing import NoReturn

from biotools.errors import ToolInputError

IUPAC_DNA = b"ACGTNRYSWKMBDHV"
_AMINO = frozenset(b"ACDEFGHIKLMNPQRSTVWYXBZJUO*")
_PROTEIN_MIN = 10


def normalise(raw: bytes) -> bytes:
    """Upper case, U read as T (positions do not move)."""
    return raw.upper().replace(b"U", b"T")


def check_dna(sequence: bytes, where: str) -> None:
    """Refuse anything but IUPAC DNA letters. `sequence` is normalised, `where` names it."""
    foreign = set(sequence.translate(None, IUPAC_DNA))
    if foreign:
        _refuse(foreign, where)
    plain = len(sequence) - len(sequence.translate(None, b"ACGTN"))
    if len(sequence) >= _PROTEIN_MIN and plain * 2 < len(sequence):
        raise protein_error(where)


def _refuse(foreign: set[int], where: str) -> NoReturn:
    if foreign <= _AMINO:
        raise protein_error(where)
    shown = " ".join(repr(chr(byte)) for byte in sorted(foreign)[:5])
    raise ToolInputError(
        "not_a_sequence",
        f"{where} holds characters that no DNA sequence has: {shown}.",
        "Remove gaps, numbers and markup; IUPAC letters only.",
    )


def protein_error(where: str) -> ToolInputError:
    """The error for a protein given as DNA."""
    return ToolInputError(
        "protein_not_dna",
        f"{where} is a protein sequence.",
        "Give the genomic DNA of the gene (GenBank record, or FASTA with a location).",
    )
