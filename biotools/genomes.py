"""Streams the contigs of a genome file piece by piece, whatever its size.

FASTA, GenBank and EMBL (plain or gzip) and .2bit; the format is told by content. Memory stays at a
few MiB: a piece holds at most about 1 MiB of bases, and no file is read twice.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, groupby

from biotools.errors import ToolInputError
from biotools.files import FORMATS_HINT, GENOME_CAP, read_chunks, sniff
from biotools.letters import check_dna, normalise
from biotools.twobit import read_twobit

_MAX_LINE = 1 << 20
_DIGITS_AND_SPACE = b"0123456789 \t\r\n"


@dataclass(frozen=True, slots=True)
class Piece:
    """Bases [start, start + len(sequence)) of the `number`-th contig: upper case, IUPAC letters."""

    number: int
    contig: str
    start: int
    sequence: bytes


def stream_genome(path: str, cap: int = GENOME_CAP) -> Iterator[Piece]:
    """Yield every contig in order, as consecutive pieces without overlap.

    Errors: empty_file, file_too_large (over `cap` decompressed bytes), not_a_sequence,
    protein_not_dna.
    """
    chunks = read_chunks(path, cap)
    head = next(chunks)
    kind = sniff(head)
    if kind == "2bit":
        raw = read_twobit(path, cap)
    else:
        text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
        lines = _whole_lines(chain((text,), chunks))
        raw = _fasta(lines) if kind == "fasta" else _flat_file(lines)
    yield from _checked(raw)


def read_contigs(path: str, cap: int = GENOME_CAP) -> Iterator[tuple[str, bytes]]:
    """Yield (name, sequence) of each contig; memory is bounded by the longest contig."""
    for _, pieces in groupby(stream_genome(path, cap), key=lambda piece: piece.number):
        parts = list(pieces)
        yield parts[0].contig, b"".join(part.sequence for part in parts)


def _checked(raw: Iterator[tuple[str | None, bytes]]) -> Iterator[Piece]:
    """Number the contigs, place the pieces, refuse what is not DNA. A name opens a contig."""
    number, contig, start, total = -1, "", 0, 0
    for name, letters in raw:
        if name is not None:
            number, contig, start = number + 1, name, 0
        sequence = normalise(letters)
        check_dna(sequence, f"Contig {contig or number + 1}")
        yield Piece(number, contig, start, sequence)
        start += len(sequence)
        total += len(sequence)
    if total == 0:
        raise ToolInputError("not_a_sequence", "The file has no sequence.", FORMATS_HINT)


def _whole_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Regroup chunks so that each ends at a line end, except a line too long to wait for."""
    rest = b""
    for chunk in chunks:
        rest += chunk
        cut = rest.rfind(b"\n") + 1
        if cut == 0 and len(rest) > _MAX_LINE and not rest.startswith(b">"):
            cut = len(rest)
        if cut:
            yield rest[:cut]
            rest = rest[cut:]
        elif len(rest) > 2 * _MAX_LINE:
            raise ToolInputError("not_a_sequence", "A line is far too long.", FORMATS_HINT)
    if rest:
        yield rest


def _fasta(groups: Iterator[bytes]) -> Iterator[tuple[str | None, bytes]]:
    for group in groups:
        sequence, *records = (b"\n" + group).split(b"\n>")
        if letters := sequence.translate(None, b" \t\r\n"):
            yield None, letters
        for record in records:
            header, _, body = record.partition(b"\n")
            words = header.split(maxsplit=1)
            name = words[0].decode("utf-8", errors="replace") if words else ""
            yield name, body.translate(None, b" \t\r\n")


def _flat_file(groups: Iterator[bytes]) -> Iterator[tuple[str | None, bytes]]:
    """GenBank and EMBL: only the name lines and the sequence block are looked at."""
    name, in_sequence = "", False
    for group in groups:
        bases: list[bytes] = []
        for line in group.splitlines():
            if line.startswith(b"//"):
                yield None, b"".join(bases)
                bases, name, in_sequence = [], "", False
            elif in_sequence:
                bases.append(line.translate(None, _DIGITS_AND_SPACE))
            elif line.startswith((b"ORIGIN", b"SQ   ")):
                in_sequence = True
                yield name, b""
            else:
                name = _flat_name(line, name)
        if bases:
            yield None, b"".join(bases)


def _flat_name(line: bytes, name: str) -> str:
    """The record's id as Biopython gives it: accession.version where there is one."""
    text = line.decode("utf-8", errors="replace")
    key, _, value = text.partition(" ")
    words = value.split()
    if not words:
        return name
    if key == "VERSION" or (key in ("LOCUS", "ACCESSION") and "." not in name):
        return words[0]
    if key == "ID":
        fields = [field.strip() for field in value.split(";")]
        version = fields[1].removeprefix("SV ") if len(fields) > 1 else ""
        return f"{fields[0]}.{version}" if version.isdigit() else fields[0].split()[0]
    return name
