"""Enumeration against a re-reading of the record by plain slicing."""

from pathlib import Path

import pytest

from biotools import ToolInputError, samples
from biotools.crispr.enumeration import Guide, enumerate_guides
from biotools.crispr.filters import Enzyme, has_site
from biotools.records import load_record
from biotools.sequence.parsing import parse_record

HBB = str(samples.HBB_REGION)
EXONS = [(62186, 62278), (62408, 62631), (63481, 63610)]
COMPLEMENT = str.maketrans("ACGT", "TGCA")


def turned(text: str) -> str:
    return text.translate(COMPLEMENT)[::-1]


def expected_cuts(sequence: str) -> set[tuple[int, str]]:
    """(cut, strand) of every NGG guide, by looking at each coding position."""
    cuts = set()
    for low, high in EXONS:
        for cut in range(low + 1, high):
            if sequence[cut + 4 : cut + 6] == "GG":
                cuts.add((cut, "+"))
            if sequence[cut - 6 : cut - 4] == "CC":
                cuts.add((cut, "-"))
    return cuts


def test_hbb_guides_are_all_and_only_those_that_cut_in_the_coding_exons() -> None:
    sequence = load_record(HBB).sequence
    found = enumerate_guides(HBB, "HBB")
    assert len(found.guides) == 81
    assert {(g.cut, g.strand) for g in found.guides} == expected_cuts(sequence)
    assert [g.id for g in found.guides[:2]] == ["g001", "g002"]
    assert [g.cut for g in found.guides] == sorted(g.cut for g in found.guides)


def test_each_guide_reads_back_from_the_record() -> None:
    sequence = load_record(HBB).sequence
    for guide in enumerate_guides(HBB, "HBB").guides:
        check_place(sequence, guide)
        before = sum(max(0, min(high, guide.cut) - low) for low, high in EXONS)
        assert guide.cds_offset == before
        assert guide.phase == before % 3
        low, high = EXONS[guide.exon - 1]
        assert low < guide.cut < high


def check_place(sequence: str, guide: Guide) -> None:
    assert guide.end - guide.start == 20
    if guide.strand == "+":
        text = sequence[guide.start - 6 : guide.end + 9]
        assert guide.cut == guide.end - 3
    else:
        text = turned(sequence[guide.start - 9 : guide.end + 6])
        assert guide.cut == guide.start + 3
    assert guide.context == text
    assert text[6:26] == guide.spacer
    assert text[26:29] == guide.pam
    assert guide.pam.endswith("GG")


def fasta(folder: Path, sequence: str) -> str:
    path = folder / "a.fa"
    path.write_text(f">a\n{sequence}\n")
    return str(path)


def test_a_gene_on_the_minus_strand_mirrors_the_plus_strand(tmp_path: Path) -> None:
    sequence = load_record(HBB).sequence[62000:64000]
    plus = enumerate_guides(fasta(tmp_path, sequence), "x", "join(187..278,409..631,1482..1610)")
    minus = enumerate_guides(
        fasta(tmp_path, turned(sequence)),
        "x",
        "complement(join(391..519,1370..1592,1723..1814))",
    )
    mirrored = {(g.spacer, g.cds_offset, g.exon, g.phase, g.context) for g in minus.guides}
    assert mirrored == {(g.spacer, g.cds_offset, g.exon, g.phase, g.context) for g in plus.guides}
    assert {2000 - g.cut for g in minus.guides} == {g.cut for g in plus.guides}


def one(folder: Path, spacer: str, **options: object) -> list[str]:
    """Why a guide with this spacer, in an otherwise empty stretch, is refused."""
    sequence = "ATATATA" * 8 + spacer + "AGG" + "TATTATA" * 8
    arguments = {"window_min": 0.0, "window_max": 1.0, **options}
    found = enumerate_guides(
        fasta(folder, sequence),
        "x",
        f"1..{len(sequence)}",
        **arguments,  # type: ignore[arg-type]
    )
    return next(g.refused_because for g in found.guides if g.spacer == spacer)


def test_every_reason_for_refusal(tmp_path: Path) -> None:
    good = "GACTGATCGATTCAGATCGA"
    assert one(tmp_path, good) == []
    assert one(tmp_path, "ATATTATAATCATATTATAA") == ["gc_low"]
    assert one(tmp_path, "GCGCCGCGGCGTCGCGGCGC") == ["gc_high"]
    assert one(tmp_path, "GACTGATCGTTTTAGATCGA") == ["pol3_terminator"]
    assert one(tmp_path, "GACTGATCGAAAAAGATCGA") == ["homopolymer"]
    assert one(tmp_path, "GACTGAAGACTTCAGATCGA", enzyme="BbsI") == ["enzyme_site"]
    assert one(tmp_path, "GACTGAAGACTTCAGATCGA", enzyme="BsaI") == []
    assert one(tmp_path, good, window_min=0.9) == ["outside_window"]


def test_enzyme_site_made_with_the_oligo_flank() -> None:
    # CGTCTC begins in the flank: CACC + GTCTC..., or CACC + G + TCTC...
    assert has_site("GTCTCATCGATCGATCGATC", Enzyme.BSMBI)
    assert has_site("TCTCAATCGATCGATCGATC", Enzyme.BSMBI)
    assert not has_site("ATCTCAATCGATCGATCGAT", Enzyme.BSMBI)
    # GAGACG ends in the scaffold, which begins with GTTT.
    assert has_site("TATCAATCGATCGATGAGAC", Enzyme.BSMBI)


def test_no_context_at_the_record_s_end(tmp_path: Path) -> None:
    sequence = "GACTGATCGATTCAGATCGA" + "AGG" + "TATTATA" * 8
    found = enumerate_guides(fasta(tmp_path, sequence), "x", "1..60", window_min=0.0)
    guide = next(g for g in found.guides if g.start == 0)
    assert guide.context is None
    assert "no_context" in guide.refused_because


def test_windows_with_other_letters_are_left_out(tmp_path: Path) -> None:
    sequence = "ATATATA" * 8 + "GACTGATCNATTCAGATCGAAGG" + "TATTATA" * 8
    with pytest.raises(ToolInputError) as caught:
        enumerate_guides(fasta(tmp_path, sequence), "x", "1..100")
    assert caught.value.code == "no_pam_site"


def test_other_pams() -> None:
    found = enumerate_guides(HBB, "HBB", pam="NAG")
    assert found.guides
    assert all(g.pam[1:] == "AG" for g in found.guides)


def test_a_site_near_two_exons_is_listed_once(tmp_path: Path) -> None:
    sequence = load_record(HBB).sequence[62186:62278]
    whole = enumerate_guides(fasta(tmp_path, sequence), "x", "1..92")
    split = enumerate_guides(fasta(tmp_path, sequence), "x", "join(1..45,46..92)")
    cuts = [(g.cut, g.strand) for g in split.guides]
    assert len(cuts) == len(set(cuts))
    assert set(cuts) == {(g.cut, g.strand) for g in whole.guides if g.cut != 45}


def test_a_site_between_exons_of_a_short_intron_is_listed_once(tmp_path: Path) -> None:
    sequence = load_record(HBB).sequence[62186:62278]
    found = enumerate_guides(fasta(tmp_path, sequence), "x", "join(1..40,61..92)").guides
    places = [(g.start, g.strand) for g in found]
    assert len(places) == len(set(places))
    whole = enumerate_guides(fasta(tmp_path, sequence), "x", "1..92").guides
    coding = {*range(1, 40), *range(61, 92)}
    assert set(places) == {(g.start, g.strand) for g in whole if g.cut in coding}


def test_nmd_escape_is_the_last_exon_and_the_55_bases_before_it(tmp_path: Path) -> None:
    for guide in enumerate_guides(HBB, "HBB").guides:
        escapes = guide.exon == 3 or (guide.exon == 2 and EXONS[1][1] - guide.cut < 55)
        assert ("nmd_escape" in guide.refused_because) == escapes
    sequence = load_record(HBB).sequence[62408:62631]
    single = enumerate_guides(fasta(tmp_path, sequence), "x", "1..222").guides
    assert not any("nmd_escape" in g.refused_because for g in single)
    assert {g.splice_distance for g in single} == {None}


def test_splice_distance_is_that_to_the_nearest_border_inside_the_coding_sequence() -> None:
    borders = [62278, 62408, 62631, 63481]
    for guide in enumerate_guides(HBB, "HBB").guides:
        assert guide.splice_distance == min(abs(guide.cut - border) for border in borders)


def two_transcripts(folder: Path) -> str:
    """HBB's region with a second HBB of its first two exons only."""
    text = Path(HBB).read_text()
    short = (
        '     CDS             join(62187..62278,62409..62500)\n                     /gene="HBB"\n'
    )
    path = folder / "two.gb"
    path.write_text(text.replace("ORIGIN", short + "ORIGIN", 1))
    return str(path)


def test_transcripts_hit_counts_the_coding_sequences_that_are_cut(tmp_path: Path) -> None:
    found = enumerate_guides(two_transcripts(tmp_path), "HBB")
    assert (found.transcripts, found.cds_length) == (2, 444)
    for guide in found.guides:
        assert guide.transcripts_hit == (2 if guide.cut < 62500 else 1)
    alone = enumerate_guides(HBB, "HBB", "join(62187..62278,62409..62500)")
    assert (alone.transcripts, {g.transcripts_hit for g in alone.guides}) == (1, {1})


def test_known_variants_in_protospacer_or_pam_refuse_the_guide() -> None:
    found = enumerate_guides(HBB, "HBB", variants=["62206A>T", "62500AA>A"])
    for guide in found.guides:
        low, high = guide.start - 3, guide.end
        if guide.strand == "+":
            low, high = guide.start, guide.end + 3
        holds = low <= 62205 < high or (low < 62501 and high > 62499)
        assert ("known_variant" in guide.refused_because) == holds
    assert sum("known_variant" in g.refused_because for g in found.guides) > 5


@pytest.mark.parametrize(
    ("variant", "said"),
    [
        ("62206C>T", "has A there"),
        ("99999A>T", "outside the record"),
        ("chr11:5A>T", "cannot be read"),
    ],
)
def test_a_variant_that_does_not_fit_the_record_is_refused(variant: str, said: str) -> None:
    for call in (enumerate_guides, parse_record):
        with pytest.raises(ToolInputError, match=said) as caught:
            call(HBB, "HBB", variants=[variant])
        assert caught.value.code == "bad_location"
