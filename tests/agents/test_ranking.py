"""Properties of the choice of guides, for any candidates."""

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from app.agents.knockout.ranking import MIN_CUT_DISTANCE, choose, order, specificity_refusals

JSON = dict[str, Any]
_score = st.none() | st.floats(-2, 2).map(lambda value: round(value, 2))


def guide(name: str, **facts: Any) -> JSON:
    """A candidate without faults, but for what `facts` says."""
    perfect, one = facts.get("close", (0, 0))
    return {
        "id": name,
        "cut": facts.get("cut", 100),
        "exon": facts.get("exon", 1),
        "cds_offset": facts.get("cut", 100),
        "refused_because": facts.get("refused", []),
        "scores": {
            "rule_set_3": facts.get("score", 0.0),
            "crisprscan": facts.get("scan", 0.0),
            "cfd_specificity": facts.get("specificity", 100.0),
            "mit_specificity": 100.0,
        },
        "off_targets": {"counts_by_pam": {"NGG": [perfect, one, 0, 0, 0]}},
    }


@st.composite
def candidates(draw: st.DrawFn) -> list[JSON]:
    close = st.sampled_from([(0, 0), (0, 0), (0, 0), (1, 0), (0, 1), (2, 3)])
    return [
        guide(
            f"g{number:03d}",
            cut=draw(st.integers(0, 400)),
            exon=draw(st.integers(1, 3)),
            score=draw(_score),
            scan=draw(_score),
            specificity=draw(st.floats(0, 100)),
            close=draw(close),
            refused=draw(st.sampled_from([[], [], ["gc_low"]])),
        )
        for number in range(draw(st.integers(0, 25)))
    ]


@given(candidates(), st.integers(1, 10), st.sets(st.sampled_from(["g000", "g001", "g005"])))
@settings(max_examples=200, deadline=None)
def test_no_refused_excluded_or_close_guide_is_ever_chosen(
    found: list[JSON], count: int, exclude: set[str]
) -> None:
    by_id = {one["id"]: one for one in found}
    chosen = choose(found, count, "specific", exclude)
    assert len(chosen) == len(set(chosen)) <= count
    for name in chosen:
        assert not by_id[name]["refused_because"]
        assert not specificity_refusals(by_id[name])
        assert name not in exclude
    cuts = sorted(by_id[name]["cut"] for name in chosen)
    assert all(b - a >= MIN_CUT_DISTANCE for a, b in pairwise(cuts))


@given(candidates(), st.integers(1, 10), st.randoms())
@settings(max_examples=100, deadline=None)
def test_the_choice_does_not_depend_on_the_order_given(
    found: list[JSON], count: int, random: Any
) -> None:
    mixed = list(found)
    random.shuffle(mixed)
    for policy in ("specific", "score_only"):
        assert choose(found, count, policy) == choose(mixed, count, policy)


@given(candidates(), st.integers(2, 10))
@settings(max_examples=200, deadline=None)
def test_one_exon_only_if_no_second_one_could_be_had(found: list[JSON], count: int) -> None:
    by_id = {one["id"]: one for one in found}
    chosen = [by_id[name] for name in choose(found, count, "specific")]
    if len({one["exon"] for one in chosen}) != 1:
        return
    kept = chosen[: count - 1]
    for one in found:
        if one["refused_because"] or specificity_refusals(one) or one["exon"] == chosen[0]["exon"]:
            continue
        assert any(abs(one["cut"] - other["cut"]) < MIN_CUT_DISTANCE for other in kept)


def test_a_better_band_beats_a_better_score_and_within_a_band_the_score_decides() -> None:
    loose = guide("g1", score=2.0, specificity=29.9)
    fair = guide("g2", score=1.0, specificity=49.9)
    good = guide("g3", score=0.1, specificity=99.0)
    best = guide("g4", score=0.2, specificity=50.0)
    ranked = order([loose, fair, good, best], "specific")
    assert [one["id"] for one in ranked] == ["g4", "g3", "g2", "g1"]


def test_crisprscan_decides_only_where_rule_set_3_is_absent() -> None:
    one, two = guide("g1", score=None, scan=0.1), guide("g2", score=None, scan=0.9)
    assert [item["id"] for item in order([one, two], "specific")] == ["g2", "g1"]
    two["scores"]["rule_set_3"] = -5.0
    one["scores"]["rule_set_3"] = -4.0
    assert [item["id"] for item in order([one, two], "specific")] == ["g1", "g2"]


def test_score_only_falls_into_the_trap_that_specific_avoids() -> None:
    trap = guide("g1", score=2.0, close=(1, 0), cut=0)
    clean = guide("g2", score=0.0, cut=100)
    assert choose([trap, clean], 1, "score_only") == ["g1"]
    assert choose([trap, clean], 2, "specific") == ["g2"]
    assert specificity_refusals(trap) == ["perfect_off_target"]
    assert specificity_refusals(guide("g3", close=(0, 2))) == ["one_mismatch_off_target"]


def test_a_guide_whose_off_targets_were_not_counted_has_no_reason_from_them() -> None:
    one = guide("g1")
    one["off_targets"] = None
    assert specificity_refusals(one) == []
