"""Off-target scan: neighbourhood index against a plain numpy character comparison, same run.

`python -m bench.off_targets [--genome FILE] [--guides N]`. A seeded random genome of 5 Mb is always
measured, FILE (FASTA, .gz, .2bit, GenBank) after it. The last line is one JSON object whose top
level is the last genome measured and whose `runs` holds all of them.

Bytes moved per guide, at n PAM sites (1,652,152 in E. coli 536: NGG, NAG, NGA, both strands) and
4 mismatches:

- characters: n x 20 bytes are read, as many written as booleans, read again and summed into n
  8-byte numbers, which are compared: n x (20 + 20 + 20 + 8 + 8 + 1) = 127 MB.
- packed, every site: XOR, shift, OR, AND on 8 bytes a site (read and written, twice read for OR),
  popcount to 1 byte, compare: n x (16 + 16 + 24 + 16 + 9 + 2) = 137 MB, but a twentieth of the
  operations, and no byte-wise sum.
- index: a half of 10 bases has 436 neighbours within 2 and 31 within 1 mismatches. 467 lookups of
  two 4-byte offsets, each its own 64-byte cache line: 30 kB. They lead to n x 467 / 4**10 = 736
  sites of 8 bytes, gathered and taken through about ten 8-byte arrays: 65 kB. Together about
  0.1 MB, so that a guide costs tens of microseconds, however large the genome's chunk.

The index itself costs, per site, a sort of 8 bytes twice; it is kept per file content.
Peak memory is that of index and search (numpy's allocations), not of the naive peer.
"""

import argparse
import json
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from biotools.crispr.chunks import Chunk, Tally, index_chunks
from biotools.crispr.packing import find_sites, pam_table, unpack
from biotools.genomes import read_contigs, stream_genome

PAMS = ("NGG", "NAG", "NGA")
RANDOM_BASES = 5_000_000
SEED = 20
NAIVE_GUIDES = 10
MAX_MISMATCHES = 4
Report = dict[str, float | int | str]


def random_genome(folder: Path) -> Path:
    """Write a seeded random genome as FASTA."""
    letters = np.frombuffer(b"ACGT", dtype=np.uint8)
    bases = letters[np.random.default_rng(SEED).integers(0, 4, RANDOM_BASES)]
    path = folder / "random_5Mb.fa"
    path.write_bytes(b">random\n" + bases.tobytes() + b"\n")
    return path


def best(action: Callable[[], object], repeats: int = 3) -> float:
    """Seconds of the fastest of a few runs."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        action()
        times.append(time.perf_counter() - begin)
    return min(times)


def build(path: Path) -> list[Chunk]:
    return list(index_chunks(stream_genome(str(path)), pam_table(PAMS), Tally()))


def all_sites(path: Path) -> NDArray[np.uint64]:
    table = pam_table(PAMS)
    return np.concatenate([find_sites(s, 0, table).packed for _, s in read_contigs(str(path))])


def count_indexed(chunks: list[Chunk], guides: NDArray[np.uint64]) -> NDArray[np.int64]:
    counts = np.zeros((len(guides), MAX_MISMATCHES + 1), dtype=np.int64)
    for chunk in chunks:
        hits = chunk.sites.search(guides, MAX_MISMATCHES)
        np.add.at(counts, (hits.guide, hits.mismatches), 1)
    return counts


def count_characters(sites: NDArray[np.uint8], guide: NDArray[np.uint8]) -> NDArray[np.int64]:
    mismatches = (sites != guide).sum(axis=1)
    return np.bincount(mismatches[mismatches <= MAX_MISMATCHES], minlength=MAX_MISMATCHES + 1)


def count_packed(sites: NDArray[np.uint64], guide: np.uint64) -> NDArray[np.int64]:
    differing = sites ^ guide
    folded = (differing | (differing >> np.uint64(1))) & np.uint64(0x5555555555)
    mismatches = np.bitwise_count(folded)
    return np.bincount(mismatches[mismatches <= MAX_MISMATCHES], minlength=MAX_MISMATCHES + 1)


def peak_mb(path: Path, guides: NDArray[np.uint64]) -> float:
    tracemalloc.start()
    count_indexed(build(path), guides)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def measure(path: Path, guide_count: int) -> Report:
    """Time index, search and both peers; the three must agree on every count they share."""
    sites = all_sites(path)
    guides = np.random.default_rng(SEED).choice(sites, guide_count, replace=False)
    index_s = best(lambda: build(path))
    chunks = build(path)
    search_s = best(lambda: count_indexed(chunks, guides))
    letters = unpack(sites)
    peers = guides[:NAIVE_GUIDES]
    naive_s = best(lambda: [count_characters(letters, g) for g in unpack(peers)], 1)
    packed_s = best(lambda: [count_packed(sites, g) for g in peers], 1)
    counts = count_indexed(chunks, guides)
    for number, guide in enumerate(peers):
        expected = count_characters(letters, unpack(guide[None])[0])
        if not (counts[number] == expected).all():
            raise SystemExit(f"the index and the plain comparison differ for guide {number}")
    per_guide, naive = 1e3 * search_s / len(guides), 1e3 * naive_s / len(peers)
    return {
        "genome": path.name,
        "sites": len(sites),
        "guides": len(guides),
        "index_s": round(index_s, 4),
        "ms_per_guide": round(per_guide, 4),
        "packed_ms_per_guide": round(1e3 * packed_s / len(peers), 3),
        "naive_ms_per_guide": round(naive, 3),
        "ratio": round(naive / per_guide, 1),
        "ratio_with_index": round(naive / (per_guide + 1e3 * index_s / len(guides)), 1),
        "peak_mb": round(peak_mb(path, guides), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Off-target scan against its naive peer")
    parser.add_argument("--genome", type=Path)
    parser.add_argument("--guides", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = [random_genome(Path(folder))]
        if options.genome is not None:
            paths.append(options.genome)
        runs = [measure(path, options.guides) for path in paths]
    for run in runs:
        print(run, file=sys.stderr)
    print(json.dumps({**runs[-1], "runs": runs}))


if __name__ == "__main__":
    main()
