"""Reads UCSC .2bit genomes: four bases a byte, N blocks apart, soft-mask blocks ignored.

Layout: the UCSC genome browser's "twoBit sequence archives" format description, versions 0 and 1.
"""

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from biotools.errors import ToolInputError
from biotools.files import FORMATS_HINT, MIB, open_input

_MAGIC = 0x1A412743
_LETTERS = "TCAG"
_QUADS = [bytes(ord(_LETTERS[(byte >> s) & 3]) for s in (6, 4, 2, 0)) for byte in range(256)]
_STEP = 1 << 18
_MAX_CONTIGS = 10_000_000


@dataclass(frozen=True, slots=True)
class _Reader:
    stream: IO[bytes]
    order: str

    def numbers(self, kind: str, count: int = 1) -> tuple[int, ...]:
        layout = f"{self.order}{count}{kind}"
        return struct.unpack(layout, self.exactly(struct.calcsize(layout)))

    def exactly(self, size: int) -> bytes:
        data = self.stream.read(size)
        if len(data) != size:
            raise _damaged("it ends too early")
        return data


def _damaged(why: str) -> ToolInputError:
    return ToolInputError("not_a_sequence", f"The .2bit file is damaged: {why}.", FORMATS_HINT)


def read_twobit(path: str, cap: int) -> Iterator[tuple[str | None, bytes]]:
    """Yield (name, b"") for each contig, then (None, bases) for its pieces; N where unknown."""
    with open_input(path) as stream:
        magic = stream.read(4)
        order = "<" if int.from_bytes(magic, "little") == _MAGIC else ">"
        reader = _Reader(stream, order)
        total = 0
        for name, offset in _index(reader):
            stream.seek(offset)
            (size,) = reader.numbers("I")
            total += size
            if total > cap:
                raise ToolInputError(
                    "file_too_large",
                    f"The genome holds more than {cap // MIB} MiB of bases.",
                    "Give one chromosome at a time.",
                )
            yield name, b""
            yield from ((None, piece) for piece in _bases(reader, size))


def _index(reader: _Reader) -> list[tuple[str, int]]:
    version, count, _ = reader.numbers("I", 3)
    if version not in (0, 1) or count > _MAX_CONTIGS:
        raise _damaged("unknown version or contig count")
    entries = []
    for _ in range(count):
        name = reader.exactly(reader.exactly(1)[0]).decode("utf-8", errors="replace")
        entries.append((name, reader.numbers("Q" if version else "I")[0]))
    return entries


def _bases(reader: _Reader, size: int) -> Iterator[bytes]:
    starts, ends = _blocks(reader, size)
    mask_count = reader.numbers("I")[0]
    reader.exactly(8 * _plausible(mask_count, size) + 4)
    for start in range(0, size, _STEP):
        stop = min(start + _STEP, size)
        packed = reader.exactly((stop - start + 3) // 4)
        letters = bytearray(b"".join(map(_QUADS.__getitem__, packed))[: stop - start])
        for block in range(bisect_right(ends, start), bisect_left(starts, stop)):
            low, high = max(starts[block], start), min(ends[block], stop)
            letters[low - start : high - start] = b"N" * (high - low)
        yield bytes(letters)


def _blocks(reader: _Reader, size: int) -> tuple[list[int], list[int]]:
    count = _plausible(reader.numbers("I")[0], size)
    starts = list(reader.numbers("I", count))
    ends = [low + span for low, span in zip(starts, reader.numbers("I", count), strict=True)]
    if starts != sorted(starts) or ends != sorted(ends) or (ends and ends[-1] > size):
        raise _damaged("N blocks out of order")
    return starts, ends


def _plausible(count: int, size: int) -> int:
    if count > size:
        raise _damaged("more blocks than bases")
    return count
