"""Reading input files under a size cap, and telling what they hold by their content.

The cap counts decompressed bytes and is checked while reading, so a gzip bomb costs one buffer of
memory and a fraction of a second, whatever it claims to hold.
"""

import gzip
import hashlib
import io
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal, cast

from biotools.errors import ToolInputError

Format = Literal["genbank", "embl", "fasta", "2bit"]

MIB = 1 << 20
RECORD_CAP = 64 * MIB
GENOME_CAP = 4096 * MIB
GZIP_MAGIC = b"\x1f\x8b"
TWOBIT_MAGICS = (b"\x43\x27\x41\x1a", b"\x1a\x41\x27\x43")
FORMATS_HINT = "Give a GenBank, EMBL or FASTA file, plain or gzip (a genome may also be .2bit)."
_CHUNK = MIB
_HEAD = 4096
_FLAT_FILE = re.compile(rb"^(LOCUS {3,}\S|ID {3}\S)", re.MULTILINE)


def file_sha256(path: str) -> str:
    """SHA-256 (hex) of the file's bytes as they lie on disk."""
    with open_input(path) as stream:
        return hashlib.file_digest(cast(io.BufferedReader, stream), "sha256").hexdigest()


def open_input(path: str) -> IO[bytes]:
    """Open a regular, non-empty file for reading."""
    source = Path(path)
    try:
        is_file = source.is_file()
        if is_file and source.stat().st_size == 0:
            raise ToolInputError("empty_file", "The file is empty.", FORMATS_HINT)
        if is_file:
            return source.open("rb")
    except (OSError, ValueError) as error:
        raise ToolInputError(
            "invalid_argument", f"The file cannot be read: {error}.", "Check the path."
        ) from error
    raise ToolInputError("invalid_argument", "There is no such file.", "Check the path.")


def read_chunks(path: str, cap: int, chunk: int = _CHUNK) -> Iterator[bytes]:
    """Yield the decompressed content in pieces of at most `chunk` bytes.

    Raises `file_too_large` as soon as more than `cap` bytes have come out.
    """
    with open_input(path) as raw:
        is_gzip = raw.read(2) == GZIP_MAGIC
        if not is_gzip and os.fstat(raw.fileno()).st_size > cap:
            raise _too_large(cap)
        raw.seek(0)
        stream = cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if is_gzip else raw
        total = 0
        while piece := _read_piece(stream, chunk):
            total += len(piece)
            if total > cap:
                raise _too_large(cap)
            yield piece
        if total == 0:
            raise ToolInputError("empty_file", "The gzip file holds no data.", FORMATS_HINT)


def _read_piece(stream: IO[bytes], chunk: int) -> bytes:
    try:
        return stream.read(chunk)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ToolInputError(
            "not_a_sequence", f"The gzip data is damaged: {error}.", "Compress the file again."
        ) from error


def _too_large(cap: int) -> ToolInputError:
    return ToolInputError(
        "file_too_large",
        f"The file holds more than {cap // MIB} MiB once decompressed.",
        "Cut out the region of interest, or give it as a background genome.",
    )


def read_capped(path: str, cap: int) -> bytes:
    """The whole decompressed content, at most `cap` bytes."""
    return b"".join(read_chunks(path, cap))


def sniff(head: bytes) -> Format:
    """Tell the format from the first bytes of the decompressed content, never from the name."""
    if head[:4] in TWOBIT_MAGICS:
        return "2bit"
    text = head[:_HEAD].removeprefix(b"\xef\xbb\xbf").lstrip()
    if not text:
        raise ToolInputError("empty_file", "The file holds only white space.", FORMATS_HINT)
    if b"\0" in text or text.startswith(GZIP_MAGIC):
        raise ToolInputError("not_a_sequence", "The file is binary.", FORMATS_HINT)
    if text.startswith(b">"):
        return "fasta"
    if match := _FLAT_FILE.search(text):
        return "genbank" if match[0].startswith(b"LOCUS") else "embl"
    raise ToolInputError("not_a_sequence", "The file is not GenBank, EMBL or FASTA.", FORMATS_HINT)
