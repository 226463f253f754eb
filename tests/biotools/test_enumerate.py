"""Enumeration against a re-reading of the record by plain slicing."""

from pathlib import Path

import pytest

from biotools import ToolInputError, samples
from biotools.crispr.enumeration import Guide, enumerate_guides
from biotools.crispr.filters import Enzyme, has_site
from biotools.records import load_record

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
