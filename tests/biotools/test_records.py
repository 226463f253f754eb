"""The loader tells formats by content and gives each kind of bad input its own code."""

import gzip
import hashlib
import json
import tracemalloc
from pathlib import Path

import pytest

from biotools import ToolInputError, data, samples
from biotools.files import MIB, read_chunks, sniff
from biotools.locations import parse_location
from biotools.records import load_record
from biotools.sequence.parsing import parse_record

HBB = str(samples.HBB_REGION)
EMBL = """ID   X00001; SV 2; linear; genomic DNA; STD; HUM; 24 BP.
XX
AC   X00001;
XX
DE   A test entry
XX
FH   Key             Location/Qualifiers
FH
FT   CDS             complement(4..12)
FT                   /gene="abc"
XX
SQ   Sequence 24 BP; 6 A; 6 C; 6 G; 6 T; 0 other;
     acgttcacat acgtacgtac gtac                                              24
//
"""


def write(folder: Path, content: bytes | str, name: str = "misleading.png") -> str:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def code_of(path: str, **arguments: str) -> str:
    with pytest.raises(ToolInputError) as caught:
        parse_record(path, **arguments)
    assert caught.value.message
    return caught.value.code


def test_genbank_sample() -> None:
    parsed = parse_record(HBB, "HBB")
    assert (parsed.id, parsed.length, parsed.format) == ("U01317.1", 73308, "genbank")
    assert parsed.genes == ["HBE1", "HBG2", "HBG1", "HBD", "HBB", "HBB thalassemia"]
    assert parsed.target is not None
    assert [(e.start, e.end) for e in parsed.target.exons] == [
        (62186, 62278), (62408, 62631), (63481, 63610),
    ]  # fmt: skip
    assert (parsed.target.cds_length, parsed.target.protein_length) == (444, 147)
    assert (parsed.target.strand, parsed.target.protein_id) == ("+", "AAA16334.1")
    assert parsed.sequence_sha256 == hashlib.sha256(load_record(HBB).sequence.encode()).hexdigest()


def test_gene_by_other_case_and_unknown_gene_lists_the_genes() -> None:
    target = parse_record(HBB, "hbd").target
    assert target is not None
    assert target.gene == "HBD"
    with pytest.raises(ToolInputError, match="HBE1, HBG2, HBG1, HBD, HBB") as caught:
        parse_record(HBB, "TP53")
    assert caught.value.code == "gene_not_found"


def test_fasta_with_location_equals_the_annotation(tmp_path: Path) -> None:
    record = load_record(HBB)
    fasta = write(tmp_path, gzip.compress(f">hbb some text\n{record.sequence.lower()}\n".encode()))
    where = "join(62187..62278,62409..62631,63482..63610)"
    given = parse_record(fasta, "HBB", where)
    annotated = parse_record(HBB, "HBB")
    assert given.format == "fasta"
    assert given.sequence_sha256 == annotated.sequence_sha256
    assert given.target is not None
    assert annotated.target is not None
    assert given.target.exons == annotated.target.exons
    assert given.target.protein_length == 147


def test_embl_on_the_minus_strand(tmp_path: Path) -> None:
    parsed = parse_record(write(tmp_path, EMBL), "abc")
    assert (parsed.id, parsed.format) == ("X00001.2", "embl")
    assert parsed.target is not None
    assert parsed.target.strand == "-"
    assert [(e.start, e.end) for e in parsed.target.exons] == [(3, 12)]
    # complement(4..12) of acgttcacatac: TTCACATAC forward, GTATGTGAA read, V C E.
    assert parsed.target.protein_length == 3


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_file"),
        (b" \n \n", "empty_file"),
        (gzip.compress(b"", mtime=0), "empty_file"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "not_a_sequence"),
        (b"once upon a time", "not_a_sequence"),
        (gzip.compress(b">a\n" + b"ACGT" * 1000, mtime=0)[:-20], "not_a_sequence"),
        (b">p\nMKVLWAALLVTFLAGCQAKVEQ\n", "protein_not_dna"),
        (b">p\nMVHSTGDKKAMSTGHDVRKW\n", "protein_not_dna"),
        (b">a\nACGT-ACGT\n", "not_a_sequence"),
        (b">a\nACGT\n>b\nACGT\n", "invalid_argument"),
        (b">a\n", "not_a_sequence"),
        (b"LOCUS       X\nnonsense", "not_a_sequence"),
        (b"\x1a\x41\x27\x43" + b"\0" * 12, "not_a_sequence"),
    ],
)
def test_bad_files(tmp_path: Path, content: bytes, code: str) -> None:
    assert code_of(write(tmp_path, content)) == code


def test_bad_gene_and_location(tmp_path: Path) -> None:
    fasta = write(tmp_path, ">a\n" + "ACGTTGCA" * 20)
    assert code_of(fasta, gene="HBB") == "no_coding_sequence"
    for location in (
        "join(1..",
        "9..5",
        "0..5",
        "1.5",
        "join()",
        "5..900",
        "1..9,complement(20..30)",
        "J00194.1:1..9",
    ):
        assert code_of(fasta, gene="x", location=location) == "bad_location"
    assert code_of(str(tmp_path / "nothing here")) == "invalid_argument"
    assert code_of(str(tmp_path)) == "invalid_argument"


def test_gzip_bomb_is_refused_within_bounded_memory(tmp_path: Path) -> None:
    bomb = write(tmp_path, gzip.compress(b">a\n" + b"A" * (80 * MIB), 9))
    tracemalloc.start()
    with pytest.raises(ToolInputError) as caught:
        for _ in read_chunks(bomb, 64 * MIB):
            pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert caught.value.code == "file_too_large"
    assert peak < 8 * MIB
    assert code_of(bomb) == "file_too_large"


def test_large_plain_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "sparse.fa"
    with path.open("wb") as stream:
        stream.write(b">a\nACGT")
        stream.truncate(1 << 30)
    assert code_of(str(path)) == "file_too_large"


def test_sniff_skips_white_space_and_flat_file_headers() -> None:
    assert sniff(b"\xef\xbb\xbf\n>a\nACGT") == "fasta"
    assert sniff(b"Data Bank release 1\n\nLOCUS       U01317") == "genbank"


@pytest.mark.parametrize("package", [data, samples])
def test_manifest_matches_the_files(package: object) -> None:
    folder = Path(str(vars(package)["__file__"])).parent
    entries = json.loads((folder / "MANIFEST.json").read_text())
    shipped = {path.name for path in folder.iterdir() if path.suffix in {".json", ".gb", ".gz"}}
    assert {entry["file"] for entry in entries} == shipped - {"MANIFEST.json"}
    for entry in entries:
        digest = hashlib.sha256((folder / entry["file"]).read_bytes()).hexdigest()
        assert digest == entry["sha256"]
        assert entry["licence"]


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("5..9", [(4, 9, "+")]),
        ("7", [(6, 7, "+")]),
        ("<1..>9", [(0, 9, "+")]),
        ("join(1..3, 7..9)", [(0, 3, "+"), (6, 9, "+")]),
        ("complement(join(1..3,7..9))", [(6, 9, "-"), (0, 3, "-")]),
        ("join(complement(7..9),complement(1..3))", [(6, 9, "-"), (0, 3, "-")]),
    ],
)
def test_location_syntax(text: str, spans: list[tuple[int, int, str]]) -> None:
    assert parse_location(text) == spans
