"""Keeps the site indexes of recently searched genomes in memory, up to a number of bytes.

The key is the content of the file and the PAM set, so a changed file is indexed anew. A genome
whose index would not fit is streamed: each chunk is indexed, searched and dropped.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from biotools.crispr.chunks import Chunk, Tally, index_chunks
from biotools.crispr.packing import pam_table
from biotools.genomes import stream_genome

DEFAULT_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class _Entry:
    chunks: list[Chunk]
    tally: Tally
    size: int


class GenomeCache:
    """Least recently used indexes go first."""

    def __init__(self, max_bytes: int = DEFAULT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[tuple[str, ...], _Entry] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Memory held by the kept indexes."""
        return sum(entry.size for entry in self._entries.values())

    def chunks(self, path: str, sha256: str, pams: Sequence[str], tally: Tally) -> Iterator[Chunk]:
        """Yield the indexed chunks of the genome; `tally` is filled when the last has come."""
        key = (sha256, *pams)
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
        if entry is None:
            yield from self._build(path, key, pams, tally)
            return
        yield from entry.chunks
        tally.update(entry.tally)

    def _build(
        self, path: str, key: tuple[str, ...], pams: Sequence[str], tally: Tally
    ) -> Iterator[Chunk]:
        kept: list[Chunk] | None = []
        size = 0
        for chunk in index_chunks(stream_genome(path), pam_table(pams), tally):
            size += chunk.sites.nbytes
            if size > self._max_bytes:
                kept = None
            if kept is not None:
                kept.append(chunk)
            yield chunk
        if kept is not None:
            self._keep(key, _Entry(kept, tally.copy(), size))

    def _keep(self, key: tuple[str, ...], entry: _Entry) -> None:
        with self._lock:
            self._entries[key] = entry
            self._entries.move_to_end(key)
            while self.nbytes > self._max_bytes:
                self._entries.popitem(last=False)


CACHE = GenomeCache()
