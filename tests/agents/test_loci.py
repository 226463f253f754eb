"""The target's own locus in a background is recognised, and a paralog is not taken for it."""

from typing import Any

from app.agents.knockout.loci import own_loci

JSON = dict[str, Any]
GUIDES = [
    {"id": f"g{n}", "spacer": f"{n:020d}", "start": 100 + 40 * n, "strand": "+-"[n % 2]}
    for n in range(6)
]


def site(guide: JSON, offset: int, **facts: Any) -> JSON:
    place = {"genome": "background 1", "contig": "chr1", "pam": "TGG", "mismatches": 0}
    return {**place, "start": guide["start"] + offset, "strand": guide["strand"], **facts}


def sites(**facts: Any) -> dict[str, list[JSON]]:
    return {one["spacer"]: [site(one, 5000, **facts)] for one in GUIDES}


def test_all_guides_at_the_records_distances_are_the_own_locus() -> None:
    [locus] = own_loci(GUIDES, sites(), "record")
    assert (locus["genome"], locus["contig"], locus["strand"]) == ("background 1", "chr1", "+")
    assert locus["guides"] == 6
    first = {"spacer": GUIDES[0]["spacer"], "contig": "chr1", "start": 5100, "strand": "+"}
    assert locus["sites"][0] == first


def test_the_reverse_strand_is_recognised() -> None:
    turned = {"+": "-", "-": "+"}
    found = {
        one["spacer"]: [site(one, 0, start=9000 - one["start"], strand=turned[one["strand"]])]
        for one in GUIDES
    }
    [locus] = own_loci(GUIDES, found, "record")
    assert locus["strand"] == "-"


def test_one_guide_that_differs_is_enough_to_make_it_a_paralog() -> None:
    found = sites()
    found[GUIDES[3]["spacer"]] = [site(GUIDES[3], 5000, mismatches=1)]
    assert own_loci(GUIDES, found, "record") == []


def test_one_guide_at_another_distance_is_enough_too() -> None:
    found = sites()
    found[GUIDES[3]["spacer"]] = [site(GUIDES[3], 5001)]
    assert own_loci(GUIDES, found, "record") == []


def test_a_second_copy_stays_an_off_target() -> None:
    found = {one["spacer"]: [site(one, 5000), site(one, 9000)] for one in GUIDES}
    [locus] = own_loci(GUIDES, found, "record")
    assert {place["start"] for place in locus["sites"]} == {one["start"] + 5000 for one in GUIDES}


def test_a_copy_in_the_record_itself_is_never_the_own_locus() -> None:
    assert own_loci(GUIDES, sites(genome="record"), "record") == []


def test_too_few_guides_prove_nothing() -> None:
    assert own_loci(GUIDES[:4], sites(), "record") == []
