"""Chooses guides. Pure functions over the candidates' figures; scores are compared, never mixed.

The order of the policy `specific` is lexicographic: first no close site elsewhere, then the band
of CFD specificity (50 and 30 are the usual limits, Concordet and Haeussler, Nucleic Acids Res
2018;46:W242), then the on-target score, then specificity itself, then an early cut. Bands, because
a difference of a tenth of a point in specificity would otherwise silence the on-target score.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Literal

from app.agents.types import JSON

Policy = Literal["specific", "score_only"]
MIN_CUT_DISTANCE = 20
SCORE_NAMES = {"rule_set_3": "Rule Set 3", "crisprscan": "CRISPRscan"}
_BANDS = (50.0, 30.0)
_PERFECT, _ONE = "perfect_off_target", "one_mismatch_off_target"
_Key = tuple[float | str, ...]


def close_sites(candidate: JSON) -> tuple[int, int]:
    """NGG sites elsewhere with no and with one mismatch."""
    ngg = candidate["off_targets"]["counts_by_pam"]["NGG"]
    return ngg[0], ngg[1]


def specificity_refusals(candidate: JSON) -> list[str]:
    """Codes for a candidate that would cut elsewhere; none if off-targets were not counted."""
    if candidate["off_targets"] is None:
        return []
    perfect, one = close_sites(candidate)
    return [code for code, count in ((_PERFECT, perfect), (_ONE, one)) if count]


def on_target_score(candidates: Iterable[JSON]) -> Literal["rule_set_3", "crisprscan"]:
    """The on-target score that decides: Rule Set 3, or CRISPRscan where its model is absent."""
    has_model = any(item["scores"]["rule_set_3"] is not None for item in candidates)
    return "rule_set_3" if has_model else "crisprscan"


def order(candidates: Sequence[JSON], policy: Policy) -> list[JSON]:
    """The candidates, best first; ties end by id, so the order never depends on the input's."""
    score = on_target_score(candidates)
    key = _by_score(score) if policy == "score_only" else _by_specificity(score)
    return sorted(candidates, key=key)


def choose(
    candidates: Sequence[JSON], count: int, policy: Policy, exclude: Collection[str] = ()
) -> list[str]:
    """Ids of up to `count` guides, best first; none that is refused or excluded.

    `specific` also keeps cuts 20 bp apart and, for two guides or more, uses a second exon where
    an eligible guide lies in one. `score_only` looks at the on-target score alone.
    """
    eligible = [
        item for item in candidates if not item["refused_because"] and item["id"] not in exclude
    ]
    if policy == "score_only":
        return [item["id"] for item in order(eligible, policy)[:count]]
    clean = [item for item in eligible if not specificity_refusals(item)]
    ranked = order(clean, policy)
    picked = _spread(ranked, count)
    return [item["id"] for item in _second_exon(picked, ranked, count)]


def _by_score(score: str) -> Callable[[JSON], _Key]:
    return lambda item: (-_or_lowest(item["scores"][score]), item["id"])


def _by_specificity(score: str) -> Callable[[JSON], _Key]:
    def key(item: JSON) -> _Key:
        specificity = _or_lowest(item["scores"]["cfd_specificity"])
        return (
            _band(specificity),
            -_or_lowest(item["scores"][score]),
            -specificity,
            item["cds_offset"],
            item["id"],
        )

    return key


def _or_lowest(value: float | None) -> float:
    return float("-inf") if value is None else value


def _band(specificity: float) -> int:
    """0 for the best band."""
    return sum(specificity < limit for limit in _BANDS)


def _is_apart(item: JSON, others: Iterable[JSON]) -> bool:
    return all(abs(item["cut"] - other["cut"]) >= MIN_CUT_DISTANCE for other in others)


def _spread(ranked: Sequence[JSON], count: int) -> list[JSON]:
    picked: list[JSON] = []
    for item in ranked:
        if len(picked) < count and _is_apart(item, picked):
            picked.append(item)
    return picked


def _second_exon(picked: list[JSON], ranked: Sequence[JSON], count: int) -> list[JSON]:
    """Give the last place to the best guide of another exon, if all lie in one."""
    if count < 2 or len({item["exon"] for item in picked}) != 1:
        return picked
    kept = picked[: count - 1]
    for item in ranked:
        if item["exon"] != picked[0]["exon"] and _is_apart(item, kept):
            return [*kept, item]
    return picked
