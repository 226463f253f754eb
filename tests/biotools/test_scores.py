"""Scores against published examples and against sums worked out by hand from the papers' tables."""

from pathlib import Path

import numpy as np
import pytest

from biotools import ToolInputError, samples
from biotools.crispr import rule_set_3 as rs3
from biotools.crispr.crisprscan import crisprscan
from biotools.crispr.frameshift import predict_frameshift
from biotools.crispr.on_target import GuideContext, score_on_target
from biotools.crispr.packing import BASES, pack_text, unpack
from biotools.crispr.site_scores import cfd_scores, mit_scores, mit_weights, specificity
from biotools.records import load_record


def codes(text: str) -> np.ndarray:
    return unpack(np.array([pack_text(text)], dtype=np.uint64))


def pam_code(pam: str) -> np.ndarray:
    first, second, third = (BASES.index(base) for base in pam)
    return np.array([first << 4 | second << 2 | third], dtype=np.uint8)


def cfd(guide: str, site: str) -> float:
    return float(cfd_scores(codes(guide[:20]), codes(site[:20]), pam_code(site[20:]))[0])


def mit(guide: str, site: str) -> float:
    return float(mit_scores(codes(guide), codes(site))[0])


@pytest.mark.parametrize(
    ("guide", "site", "expected"),
    [
        # Worked examples published with the CFD calculator.
        ("GGGGGGGGGGGGGGGGGGGGGGG", "GGGGGGGGGGGGGGGGGAAAGGG", 0.4635989007074176),
        ("GGGGGGGGGGGGGGGGGGGGGGG", "GGGGGGGGGGGGGGGGGGGGGGG", 1.0),
        ("GGGGGGGGGGGGGGGGGGGGGGG", "AAAAGAGAGGGGGGGGGGGGGGG", 0.5140384614450001),
        ("ATGGTCGGACTCCCTGCCAGAGG", "ATGGTGGGACTCCCTGCCAGAGG", 0.5),
        ("ATGGTCGGACTCCCTGCCAGAGG", "ATGATCCAAATCCCTGCCAGAGG", 0.53625000020625),
        ("ATGTGGAGATTGCCACCTACCGG", "ATCTGGAGATTGCCACCTACAGG", 0.384615385),
    ],
)
def test_cfd_published_examples(guide: str, site: str, expected: float) -> None:
    assert cfd(guide, site) == pytest.approx(expected, abs=1e-8)


def test_cfd_by_hand() -> None:
    guide = "ATCGATGCTGATGCTAGATA"
    # Position 1, rA:dA (site T): 1.0. Position 20, rA:dC (site G): 0.764705882.
    assert cfd(guide + "AGG", "TTCGATGCTGATGCTAGATGAGG") == pytest.approx(1.0 * 0.764705882)
    # The same site at NAG: times 0.259259259.
    assert cfd(guide + "AGG", "TTCGATGCTGATGCTAGATGAAG") == pytest.approx(0.764705882 * 0.259259259)
    # Position 12, rU:dT (site A): 0.8; position 16, rG:dC... is G>G, so none; NGA: 0.069444444.
    assert cfd(guide + "AGG", "ATCGATGCTGAAGCTAGATAAGA") == pytest.approx(0.8 * 0.069444444)
    # Position 16, rA:dG (site C): 0, a mismatch that is never cut.
    assert cfd(guide + "AGG", "ATCGATGCTGATGCTCGATAAGG") == 0.0


def test_mit_by_hand() -> None:
    guide = "ATCGATGCTGATGCTAGATA"
    assert mit(guide, guide) == 100.0
    assert mit(guide, "TTCGATGCTGATGCTAGATA") == pytest.approx(100.0)
    assert mit(guide, "ATCGATGCTGATGCTAGATT") == pytest.approx(100 * (1 - 0.583))
    # Positions 6 and 20, 14 apart: (1-.395)(1-.583) / ((19-14)/19*4+1) / 4.
    expected = 100 * 0.605 * 0.417 / (5 / 19 * 4 + 1) / 4
    assert mit(guide, "ATCGAAGCTGATGCTAGATT") == pytest.approx(expected)
    # Positions 1, 10 and 11: mean distance of neighbours (9 + 1) / 2 = 5.
    expected = 100 * (1 - 0.079) * (1 - 0.445) / (14 / 19 * 4 + 1) / 9
    assert mit(guide, "TTCGATGCTCTTGCTAGATA") == pytest.approx(expected)


def test_specificity_rules() -> None:
    scores = np.array([100.0, 0.5, 50.0, 0.9])
    is_ngg = np.array([True, True, False, False])
    assert mit_weights(scores, is_ngg).tolist() == [100.0, 0.5, 10.0, 0.0]
    assert specificity(0.0) == 100.0
    assert specificity(100.0) == 50.0


@pytest.mark.parametrize(
    ("context", "expected"),
    [
        ("TCCTCTGGTGGCGCTGCTGGATGGACGGGACTGTA", 0.7738634886),
        ("CCCCCCCCCCCTGCTGATGCTAGATAAGGTTGTGA", 0.531),
        ("GGAAAAAAAAAAACTGATGCTAGATACGGTTGTGA", 0.45),
        ("GGACCTATCGATGCTCGTGCTGGGTACGGTTGTGA", 0.712),
        ("GCCCCCCTCGATGCTGATGCTAGATAGGGCACACA", 0.618),
    ],
)
def test_crisprscan_published_examples(context: str, expected: float) -> None:
    assert crisprscan(context) == pytest.approx(expected, abs=5e-4)


README_30MERS = ["GACGAAAGCGACAACGCGTTCATCCGGGCA", "AGAAAACACTAGCATCCCCACCCGCGGACT"]


def test_rule_set_3_gives_the_numbers_of_its_readme() -> None:
    scores = rs3.rule_set_3(README_30MERS, "Hsu2013")
    assert scores == pytest.approx([-0.90030944, 1.11451622], abs=1e-8)
    assert rs3.rule_set_3(README_30MERS, "Chen2013") != pytest.approx(scores)


def test_scores_side_by_side_and_null_where_undefined() -> None:
    guides = [
        GuideContext(id="a", context=f"TT{README_30MERS[0]}TTT"),
        GuideContext(id="end", context=None),
        GuideContext(id="nag", context="A" * 27 + "AG" + "A" * 6),
    ]
    report = score_on_target(guides)
    assert [s.id for s in report.scores] == ["a", "end", "nag"]
    assert report.scores[0].rule_set_3 == pytest.approx(-0.90030944, abs=1e-8)
    assert report.scores[0].crisprscan is not None
    assert all((s.rule_set_3, s.crisprscan) == (None, None) for s in report.scores[1:])
    assert all(model.available for model in report.models)


def test_two_guides_with_one_id_are_refused() -> None:
    twice = [GuideContext(id="a", context=None)] * 2
    with pytest.raises(ToolInputError) as caught:
        score_on_target(twice)
    assert caught.value.code == "invalid_argument"


def test_an_absent_model_is_reported_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> list[float]:
        raise rs3.ModelMissingError("the package rs3 is missing")

    monkeypatch.setattr(rs3, "rule_set_3", missing)
    report = score_on_target([GuideContext(id="a", context=f"TT{README_30MERS[0]}TTT")])
    model = report.models[0]
    assert (model.available, model.reason) == (False, "the package rs3 is missing")
    assert report.scores[0].rule_set_3 is None
    assert report.scores[0].crisprscan is not None


def test_a_model_file_with_other_bytes_is_never_unpickled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pytest.TempPathFactory
) -> None:
    from pathlib import Path

    fake = Path(str(tmp_path)) / "RuleSet3.pkl"
    fake.write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    monkeypatch.setattr(rs3, "model_path", lambda: fake)
    with pytest.raises(rs3.ModelMissingError, match="not the file published"):
        rs3._booster.__wrapped__()


def test_frameshift_gives_the_paper_s_example() -> None:
    sequence = "GGAGGAAGGGCCTGAGTCCGAGCAGAAGAAGAAGGGCTCCCATCACATCAACCGGTGGCG"
    result = predict_frameshift(30, sequence)
    assert result.microhomology_score == pytest.approx(4662.9, abs=0.05)
    assert result.out_of_frame_score == pytest.approx(50.7, abs=0.05)
    for pattern in result.patterns:
        size = len(pattern.homology)
        assert sequence[pattern.left : pattern.left + size] == pattern.homology
        assert sequence[pattern.right : pattern.right + size] == pattern.homology
        assert pattern.left + size <= 30 <= pattern.right


def test_frameshift_without_microhomology() -> None:
    result = predict_frameshift(10, "A" * 10 + "C" * 10)
    assert (result.out_of_frame_score, result.patterns) == (None, [])


def test_frameshift_reads_the_record_itself() -> None:
    hbb = str(samples.HBB_REGION)
    sequence = load_record(hbb).sequence[62207 - 50 : 62207 + 50]
    from_file = predict_frameshift(62207, file=hbb)
    from_text = predict_frameshift(50, sequence.lower())
    assert from_file.out_of_frame_score == from_text.out_of_frame_score
    assert [p.left for p in from_file.patterns] == [p.left + 62157 for p in from_text.patterns]


def test_frameshift_ends_at_a_letter_that_is_no_base(tmp_path: Path) -> None:
    sequence = "ACGTTGCAAGGTCCATTGCAAGGTCCAT"
    path = tmp_path / "n.fa"
    path.write_text(f">n\n{'N' * 20}{sequence}{'N' * 20}\n")
    found, plain = predict_frameshift(34, file=str(path)), predict_frameshift(14, sequence)
    assert found.microhomology_score == plain.microhomology_score > 0


@pytest.mark.parametrize("given", [{}, {"sequence": "ACGTACGTACGT", "file": "x.fa"}])
def test_frameshift_wants_one_source(given: dict[str, str]) -> None:
    with pytest.raises(ToolInputError, match="Exactly one"):
        predict_frameshift(5, **given)
