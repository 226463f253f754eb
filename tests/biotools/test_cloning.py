"""The cloning server on the real HBB record, the published cassettes and small made-up plasmids."""

import io
from pathlib import Path
from typing import Any

import pytest
from Bio import SeqIO

from biotools import ToolInputError
from biotools.cloning import annotate_record, design_oligos, design_primers, digest, find_sites
from biotools.cloning.annotation import GuideFeature, PrimerFeature
from biotools.cloning.primers import CutTarget
from biotools.cloning.uniqueness import Pair, count_products
from biotools.cloning.vectors import get_vector, reverse_complement
from biotools.records import load_record

HBB = "biotools/samples/human_HBB_region_U01317.gb"
HLA = "biotools/samples/human_chr6p21_HLA_BA000025.gb.gz"
SPACER = "GTAACGGCAGACTTCTCCTC"  # exon 1 of HBB, in the Avana and GeCKOv2 libraries
CUT = 62207
FILLER = "ACTGATCATTGCAATGCTAGCTAAGCTTACGATCGTTACAAC" * 5


def _fasta(folder: Path, name: str, sequence: str) -> str:
    path = folder / name
    path.write_text(f">{path.stem}\n{sequence}\n")
    return str(path)


def _plasmid(name: str) -> str:
    vector = get_vector(name)
    gate = vector.left_site + vector.stuffer.replace("N", "T") + vector.right_site
    return FILLER + vector.u6_end + gate + vector.scaffold + FILLER


@pytest.mark.parametrize("vector", ["pX330", "lentiCRISPRv2"])
def test_oligos_carry_the_published_overhangs(vector: str) -> None:
    with_g, without_g = design_oligos([SPACER, "ATAACGGCAGACTTCTCCTC"], vector).oligos
    assert (with_g.top, with_g.bottom) == (
        "CACCGTAACGGCAGACTTCTCCTC",
        "AAACGAGGAGAAGTCTGCCGTTAC",
    )
    assert (without_g.top, without_g.bottom) == (
        "CACCGATAACGGCAGACTTCTCCTC",
        "AAACGAGGAGAAGTCTGCCGTTATC",
    )
    assert (with_g.g_added, without_g.g_added) == (False, True)


def test_cassettes_are_the_published_ones() -> None:
    px330, lenti = get_vector("pX330"), get_vector("lenticrisprV2")
    joined = px330.u6_end + px330.left_site + px330.stuffer + px330.right_site + px330.scaffold
    assert "GTGGAAAGGACGAAACACCGGGTCTTCGAGAAGACCTGTTTTAGAGCTAGAAATAGC" in joined
    assert (lenti.u6_end + lenti.left_site).endswith("GTGGAAAGGACGAAACACCGGAGACG")
    assert (lenti.right_site + lenti.scaffold).startswith("CGTCTCTGTTTTAGAGC")


@pytest.mark.parametrize(
    ("spacer", "vector", "refused"),
    [
        ("GGTCTTCAACGTACTACGTA", "pX330", ["enzyme_site"]),
        ("GGTCTTCAACGTACTACGTA", "lentiCRISPRv2", []),
        ("GAACGTACTACGTACGTCTC", "lentiCRISPRv2", ["enzyme_site"]),
        ("GAACGTACTACGTAACGTCT", "lentiCRISPRv2", []),
        # GTCTT at the end makes no site with the scaffold's G; GAAGAC at the very start does.
        ("GAAGACAACGTACTACGTAA", "pX330", ["enzyme_site"]),
        ("GAACGTACTACGTAAGTCTT", "pX330", []),
    ],
)
def test_enzyme_site_in_the_insert_is_flagged(spacer: str, vector: str, refused: list[str]) -> None:
    assert design_oligos([spacer], vector).oligos[0].refused_because == refused


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("shift", [0, 300])
def test_whole_plasmid_is_accepted_in_any_orientation(
    tmp_path: Path, turned: bool, shift: int
) -> None:
    circle = _plasmid("pX330")
    circle = circle[shift:] + circle[:shift]
    path = _fasta(tmp_path, "p.fa", reverse_complement(circle) if turned else circle)
    assert "whole plasmid p" in design_oligos([SPACER], "pX330", path).checked_on


def test_plasmid_of_another_vector_or_with_a_third_site_is_refused(tmp_path: Path) -> None:
    other = _fasta(tmp_path, "lenti.fa", _plasmid("lentiCRISPRv2"))
    third = _fasta(tmp_path, "third.fa", _plasmid("pX330") + "GAAGACTTTT")
    for path in (other, third):
        with pytest.raises(ToolInputError, match="sites instead of two") as caught:
            design_oligos([SPACER], "pX330", path)
        assert caught.value.code == "vector_site_missing"


def test_sites_away_from_the_promoter_are_refused(tmp_path: Path) -> None:
    path = _fasta(tmp_path, "p.fa", FILLER + "GTCTTC" + FILLER + "GAAGAC" + FILLER)
    with pytest.raises(ToolInputError, match="do not lie between") as caught:
        design_oligos([SPACER], "pX330", path)
    assert caught.value.code == "vector_site_missing"


def test_unknown_vector_names_the_known() -> None:
    with pytest.raises(ToolInputError, match="pX330, lentiCRISPRv2") as caught:
        design_oligos([SPACER], "pUC19")
    assert caught.value.code == "unknown_vector"


def test_primers_of_three_hbb_cuts_keep_every_limit() -> None:
    targets = [CutTarget(id=str(cut), cut=cut) for cut in (CUT, 62500, 63500)]
    design = design_primers(HBB, targets, [HLA])
    sequence = load_record(HBB).sequence
    assert [pair.id for pair in design.pairs] == [target.id for target in targets]
    assert not design.failed
    for pair in design.pairs:
        product = sequence[pair.left_start : pair.right_end]
        assert product.startswith(pair.left)
        assert product.endswith(reverse_complement(pair.right))
        assert 300 <= pair.product_size == len(product) == sum(pair.fragments) <= 600
        assert min(pair.fragments) >= 100
        assert abs(pair.fragments[0] - pair.fragments[1]) >= 50
        assert pair.fragments[0] == int(pair.id) - pair.left_start
        assert pair.ngs is not None
        assert pair.ngs.product_size <= 300
        assert pair.ngs.left_start + 50 <= int(pair.id) <= pair.ngs.right_end - 50
    assert design_primers(HBB, targets, [HLA]) == design


def test_pair_that_the_background_repeats_is_passed_over(tmp_path: Path) -> None:
    target = CutTarget(id="g", cut=CUT)
    first = design_primers(HBB, [target]).pairs[0]
    product = load_record(HBB).sequence[first.left_start : first.right_end]
    copy = _fasta(tmp_path, "copy.fa", FILLER + reverse_complement(product) + FILLER)
    second = design_primers(HBB, [target], [copy]).pairs[0]
    assert (second.left, second.right) != (first.left, first.right)
    assert second.tried > first.tried == 1


def test_no_unique_pair_is_an_error_that_says_why(tmp_path: Path) -> None:
    around = load_record(HBB).sequence[CUT - 2000 : CUT + 2000]
    copy = _fasta(tmp_path, "copy.fa", around)
    with pytest.raises(ToolInputError, match="has exactly one product") as caught:
        design_primers(HBB, [CutTarget(id="g", cut=CUT)], [copy])
    assert caught.value.code == "no_primers"


def test_genome_with_the_own_locus_must_amplify_once_as_well(tmp_path: Path) -> None:
    target = CutTarget(id="g", cut=CUT)
    locus = load_record(HBB).sequence[CUT - 3000 : CUT + 3000]
    genome = _fasta(tmp_path, "locus.fa", FILLER + reverse_complement(locus) + FILLER)
    first = design_primers(HBB, [target]).pairs
    assert design_primers(HBB, [target], own_locus_files=[genome]).pairs == first
    product = load_record(HBB).sequence[first[0].left_start : first[0].right_end]
    twice = _fasta(tmp_path, "twice.fa", locus + FILLER * 20 + product)
    other = design_primers(HBB, [target], own_locus_files=[twice]).pairs[0]
    assert (other.left, other.right) != (first[0].left, first[0].right)
    absent = _fasta(tmp_path, "absent.fa", FILLER)
    with pytest.raises(ToolInputError, match="has exactly one product"):
        design_primers(HBB, [target], own_locus_files=[absent])


def test_background_that_is_the_record_itself_changes_nothing() -> None:
    targets = [CutTarget(id="g", cut=CUT)]
    assert design_primers(HBB, targets, [HBB]).pairs == design_primers(HBB, targets).pairs


def test_target_at_the_end_of_the_record_fails_alone() -> None:
    design = design_primers(HBB, [CutTarget(id="g", cut=CUT), CutTarget(id="edge", cut=30)])
    assert [pair.id for pair in design.pairs] == ["g"]
    assert [(one.id, "primer3 finds no pair" in one.reason) for one in design.failed] == [
        ("edge", True)
    ]


@pytest.mark.parametrize(
    ("cut", "limits"),
    [(80_000, {}), (CUT, {"product_max": 200}), (CUT, {"product_min": 700})],
)
def test_impossible_primer_requests_are_refused(cut: int, limits: dict[str, Any]) -> None:
    with pytest.raises(ToolInputError) as caught:
        design_primers(HBB, [CutTarget(id="g", cut=cut)], **limits)
    assert caught.value.code == "invalid_argument"


def test_background_with_the_record_twice_leaves_no_pair(tmp_path: Path) -> None:
    text = load_record(HBB).sequence[CUT - 2000 : CUT + 2000]
    record = _fasta(tmp_path, "record.fa", text)
    once, twice = tmp_path / "once.fa", tmp_path / "twice.fa"
    once.write_text(f">a\n{text}\n")
    twice.write_text(f">a\n{text}\n>b\n{text}\n")
    target = CutTarget(id="g", cut=2000)
    assert design_primers(record, [target], [str(once)]).pairs
    with pytest.raises(ToolInputError) as caught:
        design_primers(record, [target], [str(twice)])
    assert caught.value.code == "no_primers"


def test_two_targets_with_one_id_are_refused() -> None:
    with pytest.raises(ToolInputError, match="one id") as caught:
        design_primers(HBB, [CutTarget(id="g", cut=CUT), CutTarget(id="g", cut=62500)])
    assert caught.value.code == "invalid_argument"


def test_count_products_sees_both_strands_and_single_primer_products() -> None:
    left, right = "ACGTTGCAGTCATGCA", "TTGACCGATAGGCTAA"
    product = left + FILLER + reverse_complement(right)
    palindromic = left + FILLER + reverse_complement(left)
    pair = Pair(left, right)
    assert count_products([pair], [product.encode()])[pair] == 1
    assert count_products([pair], [reverse_complement(product).encode()])[pair] == 1
    assert count_products([pair], [palindromic.encode()])[pair] == 1
    assert count_products([pair], [product.encode(), product.encode()])[pair] == 2
    assert count_products([pair], [product.encode()], max_product=len(product) - 1)[pair] == 0


def _guide() -> GuideFeature:
    return GuideFeature(
        id="g046", spacer=SPACER, pam="AGG", strand="-", start=62204, end=62224, cut=CUT
    )


def test_annotated_record_parses_back_and_is_deterministic() -> None:
    pair = design_primers(HBB, [CutTarget(id="g046", cut=CUT)]).pairs[0]
    primer = PrimerFeature(**pair.model_dump(include=set(PrimerFeature.model_fields)))
    first = annotate_record(HBB, "HBB", guides=[_guide()], primers=[primer])
    assert annotate_record(HBB, "HBB", guides=[_guide()], primers=[primer]) == first
    back = SeqIO.read(io.StringIO(first.genbank), "genbank")
    original = load_record(HBB)
    assert str(back.seq) == original.sequence
    assert (
        len(back.features)
        == len(original.bio.features) + 3
        == len(original.bio.features) + first.features_added
    )
    guide, left, right = back.features[-3:]
    assert (guide.type, str(guide.extract(back.seq))) == ("misc_feature", SPACER)
    assert (left.type, str(left.extract(back.seq))) == ("primer_bind", pair.left)
    assert (right.type, str(right.extract(back.seq))) == ("primer_bind", pair.right)


def test_fasta_gets_its_coding_sequence_from_the_location(tmp_path: Path) -> None:
    path = _fasta(tmp_path, "a name|with:odd letters.fa", load_record(HBB).sequence)
    location = "join(62187..62278,62409..62631,63482..63610)"
    text = annotate_record(path, "HBB", location, [_guide()]).genbank
    back = SeqIO.read(io.StringIO(text), "genbank")
    cds = back.features[0]
    assert cds.type == "CDS"
    assert str(cds.extract(back.seq).translate(to_stop=True)).startswith("MVHLTPEEKS")


def test_misplaced_feature_and_bad_location_are_refused(tmp_path: Path) -> None:
    wrong = _guide().model_copy(update={"start": 62205, "end": 62225})
    with pytest.raises(ToolInputError, match="is not at 62205") as caught:
        annotate_record(HBB, "HBB", guides=[wrong])
    assert caught.value.code == "invalid_argument"
    path = _fasta(tmp_path, "x.fa", FILLER)
    for location in ("join(1..", "1..99999", "nonsense"):
        with pytest.raises(ToolInputError) as caught:
            annotate_record(path, "x", location)
        assert caught.value.code == "bad_location"


def test_digest_linear_and_circular() -> None:
    dna = "AAAAGAATTCTTTTTTGAATTCGG"
    linear = digest(["EcoRI"], sequence=dna)
    assert [(one.start, one.end) for one in linear.fragments] == [(0, 5), (5, 17), (17, 24)]
    circular = digest(["EcoRI"], sequence=dna, circular=True)
    assert [(one.start, one.end, one.length) for one in circular.fragments] == [
        (5, 17, 12),
        (17, 5, 12),
    ]
    assert [one.length for one in digest(["BamHI"], sequence=dna, circular=True).fragments] == [24]


def test_digest_of_hbb_adds_up_and_agrees_with_its_sites() -> None:
    cut = digest(["EcoRI", "BbsI"], file=HBB)
    assert sum(one.length for one in cut.fragments) == cut.length == 73_308
    sites = find_sites(["EcoRI", "BbsI", "NotI"], file=HBB)
    sequence = load_record(HBB).sequence
    assert [at - 1 for at in sites.enzymes[0].cuts] == [
        at for at in range(len(sequence)) if sequence.startswith("GAATTC", at)
    ]
    assert sites.non_cutters == [one.enzyme for one in sites.enzymes if not one.cuts]
    assert cut.enzymes == sites.enzymes[:2]


def test_site_over_the_origin_of_a_circle_is_found() -> None:
    dna = "TTC" + "A" * 30 + "GAA"
    assert find_sites(["EcoRI"], sequence=dna, circular=True).enzymes[0].cuts == [34]
    assert find_sites(["EcoRI"], sequence=dna).non_cutters == ["EcoRI"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"enzymes": ["EcoR1"], "sequence": "ACGT"}, "invalid_argument"),
        ({"enzymes": ["Analysis"], "sequence": "ACGT"}, "invalid_argument"),
        ({"enzymes": ["EcoRI"]}, "invalid_argument"),
        ({"enzymes": ["EcoRI"], "sequence": "ACGT", "file": HBB}, "invalid_argument"),
        ({"enzymes": ["EcoRI"], "sequence": "MKVLWAALLVTFLAGCQA"}, "protein_not_dna"),
    ],
)
def test_bad_digest_requests(arguments: dict[str, Any], code: str) -> None:
    with pytest.raises(ToolInputError) as caught:
        digest(**arguments)
    assert caught.value.code == code
