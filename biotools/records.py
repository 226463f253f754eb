"""Loads one annotated record (GenBank, EMBL) or plain sequence (FASTA), plain or gzip.

Biopython reads the flat files; the checks before and after it are here, so that each kind of bad
input ends in its own error code.
"""

import hashlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from biotools.errors import ToolInputError
from biotools.files import FORMATS_HINT, RECORD_CAP, Format, read_capped, sniff
from biotools.letters import check_dna, normalise, protein_error

if TYPE_CHECKING:
    from Bio.SeqRecord import SeqRecord


@dataclass(frozen=True, slots=True)
class Record:
    """One sequence record. `sequence` is upper case with T for U; `bio` is Biopython's record."""

    id: str
    name: str
    description: str
    sequence: str
    format: Format
    bio: "SeqRecord"

    @property
    def sha256(self) -> str:
        """SHA-256 (hex) of the upper-case sequence."""
        return hashlib.sha256(self.sequence.encode()).hexdigest()


def load_record(path: str, cap: int = RECORD_CAP) -> Record:
    """Load the one record of the file.

    Errors: empty_file, file_too_large, not_a_sequence, protein_not_dna, invalid_argument (more
    than one record).
    """
    data = read_capped(path, cap)
    kind = sniff(data)
    if kind == "2bit":
        raise ToolInputError("not_a_sequence", "A .2bit file is a genome.", FORMATS_HINT)
    bio = _parse_one(data, kind)
    sequence = _sequence_of(bio)
    return Record(
        id=str(bio.id),
        name=str(bio.name),
        description=str(bio.description),
        sequence=sequence,
        format=kind,
        bio=bio,
    )


def _parse_one(data: bytes, kind: Format) -> "SeqRecord":
    from Bio import SeqIO

    text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", errors="replace")
    handle = io.StringIO(text.lstrip().replace("\r\n", "\n"))
    try:
        read: Any = SeqIO.parse  # untyped in Biopython
        records = read(handle, kind)
        first: SeqRecord | None = next(records, None)
        second: SeqRecord | None = next(records, None)
    except Exception as error:  # Biopython raises many kinds on damaged flat files
        raise ToolInputError(
            "not_a_sequence", f"The {kind} file cannot be read: {error}.", FORMATS_HINT
        ) from error
    if first is None:
        raise ToolInputError("not_a_sequence", "The file holds no record.", FORMATS_HINT)
    if second is not None:
        raise ToolInputError(
            "invalid_argument",
            f"The file holds several records ({first.id}, {second.id}, ...).",
            "Give a file with the one record that holds the gene.",
        )
    return first


def _sequence_of(bio: "SeqRecord") -> str:
    from Bio.Seq import UndefinedSequenceError

    where = f"Record {bio.id}"
    if bio.annotations.get("molecule_type") == "protein":
        raise protein_error(where)
    try:
        sequence = normalise(bytes(bio.seq)) if bio.seq is not None else b""
    except UndefinedSequenceError:
        sequence = b""
    if not sequence:
        raise ToolInputError(
            "not_a_sequence", f"{where} has no sequence.", "Download it with its sequence."
        )
    check_dna(sequence, where)
    return sequence.decode("ascii")
