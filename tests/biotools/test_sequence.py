"""The sequence server's functions, on values worked out by hand or published."""

import pytest

from biotools import ToolInputError, samples
from biotools.records import load_record
from biotools.sequence.composition import gc_content, protein_properties
from biotools.sequence.reading_frames import find_orfs, translate
from biotools.targets import find_target

HBB = str(samples.HBB_REGION)
BETA_GLOBIN = (
    "MVHLTPEEKSAVTALWGKVNVDEVGGEALGRLLVVYPWTQRFFESFGDLSTPDAVMGNPKVKAHGKKVLGAFSDGLAHLDNLKGTFATL"
    "SELHCDKLHVDPENFRLLGNVLVCVLAHHFGKEFTPPVQAAYQKVVAGVANALAHKYH"
)


def test_the_sample_s_coding_sequence_is_beta_globin() -> None:
    target = find_target(load_record(HBB), "HBB")
    assert target.protein == BETA_GLOBIN
    assert translate(target.sequence).protein == BETA_GLOBIN + "*"


def test_gc_content_leaves_out_what_is_unknown() -> None:
    assert gc_content("ACGTNN").gc == 0.5
    assert gc_content("gcsAW").gc == pytest.approx(0.6)
    assert gc_content("NNN").gc is None
    with pytest.raises(ToolInputError):
        gc_content("MKVLWAALLVTFLAG")


def test_translate_conventions() -> None:
    result = translate("ATGTAAGCTGA")
    assert (result.protein, result.remainder) == ("M*A", 2)
    assert translate("ATGTAAGCT", to_stop=True).protein == "M"
    assert translate("ATGTGA", table=2).protein == "MW"
    with pytest.raises(ToolInputError):
        translate("ATG", table=7)


def test_orfs_on_both_strands_and_nested() -> None:
    frame = "ATGGCTATGGCTTAA"
    text = "CC" + frame + "CC"
    plus = find_orfs(text, min_length_aa=2, strand="+").orfs
    assert [(o.start, o.end, o.protein, o.frame) for o in plus] == [(2, 17, "MAMA", 2)]
    nested = find_orfs(text, min_length_aa=2, strand="+", nested=True).orfs
    assert [(o.start, o.protein) for o in nested] == [(2, "MAMA"), (8, "MA")]
    turned = text[::-1].translate(str.maketrans("ACGT", "TGCA"))
    minus = find_orfs(turned, min_length_aa=4).orfs
    assert [(o.start, o.end, o.strand, o.protein) for o in minus] == [(2, 17, "-", "MAMA")]
    assert find_orfs("ATGGCTATGGCT", min_length_aa=1, strand="+").orfs == []


def test_beta_globin_s_properties() -> None:
    found = protein_properties(BETA_GLOBIN)
    assert found.length == 147
    assert found.molecular_weight == pytest.approx(15998.4, abs=0.5)
    assert found.isoelectric_point == pytest.approx(6.7, abs=0.1)
    # Two Trp and three Tyr: 2 * 5500 + 3 * 1490; two Cys make one cystine: + 125.
    assert (found.extinction_reduced, found.extinction_oxidised) == (15470, 15595)
