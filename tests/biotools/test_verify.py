"""The verifier refuses what is wrong: guides, oligos, primers; and shares no code with the rest."""

import ast
from pathlib import Path

import pytest

from biotools import ToolInputError
from biotools.cloning import design_oligos, design_primers
from biotools.cloning.primers import CutTarget
from biotools.records import load_record
from biotools.verify import amplify, assemble, locate_guides
from biotools.verify.amplification import ClaimedPair
from biotools.verify.assembly import OrderedOligos
from biotools.verify.bases import opposite_strand
from biotools.verify.guides import ClaimedGuide

HBB = "biotools/samples/human_HBB_region_U01317.gb"
HLA = "biotools/samples/human_chr6p21_HLA_BA000025.gb.gz"
SPACER = "GTAACGGCAGACTTCTCCTC"
CUT = 62207
GUIDE = ClaimedGuide(id="g", spacer=SPACER, pam="AGG", strand="-", start=62204, end=62224, cut=CUT)


def test_verifier_imports_nothing_of_what_it_checks() -> None:
    allowed = ("biotools.verify", "biotools.records", "biotools.genomes", "biotools.files")
    allowed += ("biotools.errors", "biotools.params", "biotools.cancel", "biotools.serve")
    for path in Path("biotools/verify").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                assert not name.startswith("biotools") or name.startswith(allowed), path


def test_guide_is_found_where_it_is_claimed() -> None:
    check = locate_guides(HBB, [GUIDE]).checks[0]
    assert (check.ok, check.copies) == (True, 1)


def test_forward_guide_and_a_guide_with_a_copy_in_hbd() -> None:
    sequence = load_record(HBB).sequence
    start = sequence.index("CCCTGGGCAGGTTGGTATCA", 60_000)
    guide = ClaimedGuide(
        id="f",
        spacer=sequence[start : start + 20],
        pam=sequence[start + 20 : start + 23],
        strand="+",
        start=start,
        end=start + 20,
        cut=start + 17,
    )
    check = locate_guides(HBB, [guide]).checks[0]
    assert (check.ok, check.copies) == (True, 2)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"start": 62205, "end": 62225}, "no such protospacer"),
        ({"strand": "+"}, "no such protospacer"),
        ({"end": 62225}, "do not span 20"),
        ({"pam": "TGG"}, "the PAM there is AGG"),
        ({"cut": 62206}, f"the cut is at {CUT}"),
        ({"spacer": "ATAACGGCAGACTTCTCCTC"}, "no such protospacer"),
        ({"start": -5, "end": 15}, "no such protospacer"),
    ],
)
def test_false_claims_about_a_guide_are_refused(change: dict[str, object], reason: str) -> None:
    check = locate_guides(HBB, [GUIDE.model_copy(update=change)]).checks[0]
    assert not check.ok
    assert reason in check.reason


def _ordered(spacer: str, vector: str) -> OrderedOligos:
    pair = design_oligos([spacer], vector).oligos[0]
    return OrderedOligos(spacer=pair.spacer, top=pair.top, bottom=pair.bottom)


@pytest.mark.parametrize("vector", ["pX330", "lentiCRISPRv2"])
@pytest.mark.parametrize("spacer", [SPACER, "ATAACGGCAGACTTCTCCTC"])
def test_designed_oligos_assemble_into_the_cassette(vector: str, spacer: str) -> None:
    result = assemble([_ordered(spacer, vector)], vector)
    check = result.checks[0]
    assert check.ok, check.reason
    assert check.insert_in_place
    assert check.site_destroyed
    assert check.digest is not None
    assert len(check.digest.before) == 2
    assert check.digest.after == [check.product_length]
    # The stuffer with its sites makes room for the oligos: 4 nt of overhang and the guide.
    inserted = 4 + 20 + (spacer[0] != "G")
    assert check.product_length == check.digest.before[0] + inserted
    assert "cassette" in result.verified_on
    assert "only" in result.verified_on


def test_whole_plasmid_is_assembled_whole(tmp_path: Path) -> None:
    path = tmp_path / "plasmid.fa"
    u6 = "ATCTTGTGGAAAGGACGAAACACC"
    scaffold = "GTTTTAGAGCTAGAAATAGCAAGTTAAAATAAGGC"
    rest = "ACTGATCATTGCAATGCTAGCTAAGCTTACGATCGTTACAAC" * 20
    sequence = rest[300:] + u6 + "GGGTCTTCGAGAAGACCT" + scaffold + rest[:300]
    path.write_text(f">px\n{opposite_strand(sequence)}\n")
    result = assemble([_ordered(SPACER, "pX330")], "pX330", str(path))
    assert result.checks[0].ok, result.checks[0].reason
    assert result.checks[0].product_length == len(sequence) - 22 + 24
    assert result.verified_on == f"whole plasmid px, {len(sequence)} bp"


@pytest.mark.parametrize(
    ("top", "bottom", "reason"),
    [
        # Wrong overhang at the left, at the right; a mismatch in the middle; blunt; swapped.
        ("CACGGTAACGGCAGACTTCTCCTC", "AAACGAGGAGAAGTCTGCCGTTAC", "0 products"),
        ("CACCGTAACGGCAGACTTCTCCTC", "AAATGAGGAGAAGTCTGCCGTTAC", "0 products"),
        ("CACCGTAACGGCAGTCTTCTCCTC", "AAACGAGGAGAAGTCTGCCGTTAC", "0 products"),
        ("GTAACGGCAGACTTCTCCTC", "GAGGAGAAGTCTGCCGTTAC", "0 products"),
        ("AAACGTAACGGCAGACTTCTCCTC", "CACCGAGGAGAAGTCTGCCGTTAC", "do not follow each other"),
        # Another guide's oligos: they ligate, but not to what was claimed.
        ("CACCGTAACGGCAGACTTCTCCTA", "AAACTAGGAGAAGTCTGCCGTTAC", "do not follow each other"),
        # One base more between guide and scaffold: out of register.
        ("CACCGTAACGGCAGACTTCTCCTCA", "AAACTGAGGAGAAGTCTGCCGTTAC", "do not follow each other"),
    ],
)
def test_wrong_oligos_are_refused(top: str, bottom: str, reason: str) -> None:
    check = assemble([OrderedOligos(spacer=SPACER, top=top, bottom=bottom)], "pX330").checks[0]
    assert not check.ok
    assert reason in check.reason


def test_guide_that_the_enzyme_cuts_is_refused() -> None:
    check = assemble([_ordered("GGTCTTCAACGTACTACGTA", "pX330")], "pX330").checks[0]
    assert not check.ok
    assert not check.site_destroyed


def test_missing_vector_and_uncuttable_plasmid() -> None:
    pair = _ordered(SPACER, "pX330")
    with pytest.raises(ToolInputError) as caught:
        assemble([pair], "pUC19")
    assert caught.value.code == "unknown_vector"
    with pytest.raises(ToolInputError, match="instead of two") as caught:
        assemble([pair], "pX330", HBB)
    assert caught.value.code == "vector_site_missing"


def test_designed_primers_amplify_once_in_record_and_background() -> None:
    pair = design_primers(HBB, [CutTarget(id="g", cut=CUT)], [HLA]).pairs[0]
    claim = ClaimedPair(id="g", left=pair.left, right=pair.right, product_size=pair.product_size)
    check = amplify([HBB, HLA, HBB], [claim]).checks[0]
    assert check.ok, check.reason
    assert [(one.contig, one.start) for one in check.products] == [("U01317.1", pair.left_start)]


def test_pair_shared_by_hbb_and_hbd_is_refused() -> None:
    sequence = load_record(HBB).sequence
    left, right = sequence[62157:62177], opposite_strand(sequence[62335:62355])
    claim = ClaimedPair(id="shared", left=left, right=right, product_size=198)
    check = amplify([HBB], [claim]).checks[0]
    assert not check.ok
    assert [(one.start, one.size) for one in check.products] == [(54_760, 198), (62_157, 198)]
    assert "2 products" in check.reason


def _genome(folder: Path, *contigs: str) -> str:
    path = folder / "genome.fa"
    path.write_text("".join(f">c{n}\n{text}\n" for n, text in enumerate(contigs)))
    return str(path)


def test_amplify_counts_as_a_hand_made_genome_says(tmp_path: Path) -> None:
    left, right = "ACGTTGCAGTCATGCA", "TTGACCGATAGGCTAA"
    product = left + "T" * 100 + opposite_strand(right)
    claim = ClaimedPair(id="p", left=left.lower(), right=right, product_size=len(product))
    once = _genome(tmp_path, "CCC" + opposite_strand(product) + "GG")
    check = amplify([once], [claim]).checks[0]
    assert (check.ok, check.products[0].start) == (True, 3)
    assert amplify([once], [claim], max_product=131).checks[0].product_count == 0
    wrong = claim.model_copy(update={"product_size": 131})
    assert "has 132 bp, not 131" in amplify([once], [wrong]).checks[0].reason
    single = _genome(tmp_path, product, left + "A" * 50 + opposite_strand(left))
    assert amplify([single], [claim]).checks[0].product_count == 2
    absent = _genome(tmp_path, product.replace("TTTT", "NNNN").replace(left, left[:-1] + "N"))
    assert "no product" in amplify([absent], [claim]).checks[0].reason


def test_identical_contigs_count_within_a_file_but_not_across_files(tmp_path: Path) -> None:
    left, right = "ACGTTGCAGTCATGCA", "TTGACCGATAGGCTAA"
    product = left + "T" * 100 + opposite_strand(right)
    claim = ClaimedPair(id="p", left=left, right=right, product_size=len(product))
    once, twice = tmp_path / "once.fa", tmp_path / "twice.fa"
    once.write_text(f">a\n{product}\n")
    twice.write_text(f">a\n{product}\n>b\n{product}\n")
    counted = [
        amplify([str(path) for path in files], [claim]).checks[0].product_count
        for files in ([once], [once, once], [twice], [once, twice], [twice, once])
    ]
    assert counted == [1, 1, 2, 2, 2]


def test_product_over_a_block_boundary_is_found_once(tmp_path: Path) -> None:
    left, right = "ACGTTGCAGTCATGCA", "TTGACCGATAGGCTAA"
    product = left + "T" * 100 + opposite_strand(right)
    claim = ClaimedPair(id="p", left=left, right=right, product_size=len(product))
    lead = (1 << 20) - 130
    genome = tmp_path / "long.fa"
    for shift in (0, 7, 120):
        text = "T" * (lead + shift) + product + "T" * (1 << 20)
        lines = [text[at : at + 61] for at in range(0, len(text), 61)]
        genome.write_text(">c\n" + "\n".join(lines) + "\n")
        check = amplify([str(genome)], [claim]).checks[0]
        assert [one.start for one in check.products] == [lead + shift]
