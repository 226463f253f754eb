"""Streaming gives the same contigs as Biopython, whatever the format and the piece size."""

import gzip
import random
import struct
from pathlib import Path

import pytest
from Bio import SeqIO

from biotools import ToolInputError, samples
from biotools.genomes import read_contigs, stream_genome
from biotools.records import load_record

CONTIGS = {"chrA": "ACGTNNNACGTAGG", "empty": "", "chrB": "TTTTGGGGCCCCAAAANN"}


def big_contigs() -> dict[str, str]:
    rng = random.Random(7)
    return {
        name: "".join(rng.choices("ACGTN", (30, 30, 30, 30, 1), k=size))
        for name, size in (("one", 700_000), ("two", 5), ("three", 1_500_001))
    }


def fasta(contigs: dict[str, str], width: int) -> bytes:
    rows = []
    for name, bases in contigs.items():
        rows.append(f">{name} description\n")
        rows += [bases[at : at + width] + "\n" for at in range(0, len(bases), width)]
    return "".join(rows).encode()


def twobit(contigs: dict[str, str], order: str = "<") -> bytes:
    """A .2bit file after its published layout, version 0."""
    bodies = []
    for bases in contigs.values():
        runs = [at for at, base in enumerate(bases) if base == "N"]
        packed = bytearray((len(bases) + 3) // 4)
        for at, base in enumerate(bases):
            packed[at // 4] |= "TCAG".index(base.replace("N", "T")) << 6 - at % 4 * 2
        body = struct.pack(f"{order}2I", len(bases), len(runs))
        body += struct.pack(f"{order}{len(runs)}I", *runs)
        body += struct.pack(f"{order}{len(runs)}I", *[1] * len(runs))
        bodies.append(body + struct.pack(f"{order}2I", 0, 0) + bytes(packed))
    head = struct.pack(f"{order}4I", 0x1A412743, 0, len(contigs), 0)
    at = len(head) + sum(5 + len(name) for name in contigs)
    index = b""
    for name, body in zip(contigs, bodies, strict=True):
        index += bytes([len(name)]) + name.encode() + struct.pack(f"{order}I", at)
        at += len(body)
    return head + index + b"".join(bodies)


def read(folder: Path, content: bytes) -> dict[str, str]:
    path = folder / "genome"
    path.write_bytes(content)
    return {name: bases.decode() for name, bases in read_contigs(str(path))}


@pytest.mark.parametrize("width", [1, 60, 10**9])
def test_fasta(tmp_path: Path, width: int) -> None:
    assert read(tmp_path, fasta(CONTIGS, width)) == CONTIGS
    assert read(tmp_path, gzip.compress(fasta(CONTIGS, width))) == CONTIGS
    assert read(tmp_path, fasta(CONTIGS, width).replace(b"\n", b"\r\n").lower()) == {
        name.lower(): bases for name, bases in CONTIGS.items()
    }


@pytest.mark.parametrize("width", [70, 10**9])
def test_fasta_longer_than_a_piece(tmp_path: Path, width: int) -> None:
    assert read(tmp_path, fasta(big_contigs(), width)) == big_contigs()


@pytest.mark.parametrize("order", ["<", ">"])
def test_twobit_as_biopython_reads_it(tmp_path: Path, order: str) -> None:
    path = tmp_path / "genome"
    path.write_bytes(twobit(big_contigs(), order))
    ours = {name: bases.decode() for name, bases in read_contigs(str(path))}
    with path.open("rb") as stream:
        theirs = {r.id: str(r.seq).upper() for r in SeqIO.parse(stream, "twobit")}
    assert ours == theirs == big_contigs()


def test_genbank_has_the_loader_s_name_and_sequence() -> None:
    record = load_record(str(samples.HBB_REGION))
    assert list(read_contigs(str(samples.HBB_REGION))) == [(record.id, record.sequence.encode())]


def test_pieces_are_small_and_gapless() -> None:
    at = 0
    for piece in stream_genome(str(samples.HLA_REGION)):
        assert piece.start == at
        assert len(piece.sequence) <= 1 << 20
        at += len(piece.sequence)
    assert at == 2_229_817


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_file"),
        (b">p\nMKVLWAALLVTFLAGCQAKVEQ\n", "protein_not_dna"),
        (b">a\nAC*GT\n", "protein_not_dna"),
        (b">a\nAC1GT\n", "not_a_sequence"),
        (b">a\n>b\n", "not_a_sequence"),
        (twobit(CONTIGS)[:-3], "not_a_sequence"),
        (twobit(CONTIGS)[:20], "not_a_sequence"),
    ],
)
def test_bad_genomes(tmp_path: Path, content: bytes, code: str) -> None:
    with pytest.raises(ToolInputError) as caught:
        read(tmp_path, content)
    assert caught.value.code == code


def test_cap_counts_decompressed_bases(tmp_path: Path) -> None:
    path = tmp_path / "genome"
    for content in (gzip.compress(fasta(big_contigs(), 60)), twobit(big_contigs())):
        path.write_bytes(content)
        with pytest.raises(ToolInputError) as caught:
            list(stream_genome(str(path), cap=1_000_000))
        assert caught.value.code == "file_too_large"
