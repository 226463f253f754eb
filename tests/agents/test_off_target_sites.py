"""Which off-target places are offered primers, and what happens where there are none."""

from pathlib import Path
from typing import Any

import pytest

from app.agents.knockout.loci import own_loci
from app.agents.knockout.off_target_sites import worst_places
from tests.agents.knockouts import HBB_RECORD, SAMPLES, bench, sequence_of, tampered

JSON = dict[str, Any]
TURN = str.maketrans("ACGT", "TGCA")


def site(start: int, cfd: float, strand: str = "+", **facts: Any) -> JSON:
    place = {"genome": "record", "contig": "r", "start": start, "strand": strand}
    return {**place, "pam": "TGG", "mismatches": 3, "cfd": cfd, **facts}


def found(*guides: list[JSON], loci: list[JSON] | None = None) -> JSON:
    candidates = [
        {"id": f"g{number}", "off_targets": {"worst_sites": sites}}
        for number, sites in enumerate(guides, 1)
    ]
    return {"candidates": candidates, "own_loci": loci or []}


def test_the_five_worst_places_of_all_guides_come_worst_first() -> None:
    one = [site(100 * n, 0.1 * n) for n in range(1, 5)]
    two = [site(1000 + 100 * n, 0.05 + 0.1 * n) for n in range(1, 5)]
    places = worst_places(found(one, two), ["g1", "g2"])
    assert [round(place["cfd"], 2) for place in places] == [0.45, 0.4, 0.35, 0.3, 0.25]
    assert [place["guides"] for place in places] == [["g2"], ["g1"], ["g2"], ["g1"], ["g2"]]
    assert worst_places(found(one, two), ["g2"])[0]["id"] == "record:r:1417"


def test_a_place_that_two_guides_may_cut_is_listed_once_with_the_greater_risk() -> None:
    weak, strong = site(100, 0.2), site(114, 0.6, "-", mismatches=1)
    [place] = worst_places(found([weak], [strong]), ["g1", "g2"])
    assert (place["cut"], place["guides"]) == (117, ["g1", "g2"])
    assert (place["cfd"], place["mismatches"]) == (0.6, 1)


@pytest.mark.parametrize("turned", [False, True])
def test_a_place_of_the_record_that_a_genome_holds_as_well_is_listed_once(turned: bool) -> None:
    def lifted(start: int, strand: str) -> JSON:
        place = {"genome": "background 1", "contig": "chr1"}
        if not turned:
            return {**place, "start": 5000 + start, "strand": strand}
        return {**place, "start": 9000 - start, "strand": "-" if strand == "+" else "+"}

    guides = [
        {"id": f"g{n}", "spacer": f"s{n}", "start": 40 * n, "strand": "+-"[n % 2]} for n in range(6)
    ]
    perfect = {
        one["spacer"]: [
            {**lifted(one["start"], one["strand"]), "mismatches": 0, "pam": "AGG"}  # type: ignore[call-overload]
        ]
        for one in guides
    }
    loci = own_loci(guides, perfect, "record")  # type: ignore[arg-type]
    assert len(loci) == 1
    there = {**site(700, 0.3, "-"), **lifted(700, "-")}
    twin, alone = site(700, 0.3, "-"), site(900, 0.2)
    places = worst_places(found([twin, there, alone], loci=loci), ["g1"])
    assert [place["genome"] for place in places] == ["background 1", "record"]
    assert places[1]["cfd"] == 0.2


pytestmark = pytest.mark.anyio


async def test_the_report_lists_primers_for_the_worst_places_of_the_chosen_guides() -> None:
    run = await bench(backgrounds=(SAMPLES / "human_chr6p21_HLA_BA000025.gb.gz",)).run()
    places = run.report["off_target_primers"]
    assert 3 <= len(places) <= 5
    assert [one["cfd"] for one in places] == sorted((one["cfd"] for one in places), reverse=True)
    by_id = {one["id"]: one for one in run.report["candidates"]}
    sites = [
        one for name in run.report["chosen"] for one in by_id[name]["off_targets"]["worst_sites"]
    ]
    assert places[0]["cfd"] == max(one["cfd"] for one in sites)
    sequence = sequence_of(HBB_RECORD)
    sheet, page = run.files["oligos.csv"].decode(), run.files["report.md"].decode()
    for place in places:
        pair = place["pair"]
        assert pair["left"] in page
        assert f"{place['id']}_left,{pair['left']}," in sheet
        if place["genome"] == "record":
            product = sequence[pair["left_start"] : pair["right_end"]]
            assert product.startswith(pair["left"])
            assert pair["left_start"] + 100 <= place["cut"] <= pair["right_end"] - 100
    [check] = [one for one in run.report["checks"] if one["name"] == "primers_unique"]
    assert {place["id"] for place in places} <= set(check["figures"])


async def test_with_the_own_locus_in_a_genome_each_place_is_listed_once(tmp_path: Path) -> None:
    sequence = sequence_of(HBB_RECORD)
    record = tmp_path / "gene.fa"
    record.write_text(f">HBB_gene\n{sequence[54000:65000]}\n")
    place = "join(8187..8278,8409..8631,9482..9610)"
    run = await bench(record, (HBB_RECORD,), location=place).run()
    assert run.outcome.is_success
    by_id = {one["id"]: one for one in run.report["candidates"]}
    sites = [
        one for name in run.report["chosen"] for one in by_id[name]["off_targets"]["worst_sites"]
    ]
    assert "record" in {one["genome"] for one in sites}
    places = run.report["off_target_primers"]
    assert {one["genome"] for one in places} == {"background 1"}
    assert len({one["cut"] for one in places}) == len(places) == 5
    assert all(one["pair"] for one in places)


def _no_pairs(answer: JSON) -> None:
    answer["failed"] = [{"id": one["id"], "reason": "none | fits"} for one in answer["pairs"]]
    answer["pairs"] = []


async def test_places_without_primers_say_so_and_block_nothing() -> None:
    run = await bench(tools=tampered("cloning.design_site_primers", _no_pairs)).run()
    assert run.outcome.is_success
    places = run.report["off_target_primers"]
    assert places
    assert {(one["pair"], one["reason"]) for one in places} == {(None, "none | fits")}
    assert "none \\| fits" in run.files["report.md"].decode()


def _longer(answer: JSON) -> None:
    for pair in answer["pairs"]:
        pair["product_size"] += 1


async def test_pairs_that_the_evaluator_refuses_are_left_out_at_the_next_try() -> None:
    run = await bench(tools=tampered("cloning.design_site_primers", _longer)).run()
    assert run.outcome.is_success
    whole = await bench().run()
    assert run.report["chosen"] == whole.report["chosen"]
    [refusal] = run.report["refusals"]
    places = run.report["off_target_primers"]
    assert refusal["exclude"] == sorted(one["id"] for one in places)
    assert all(one["pair"] is None and "not unique" in one["reason"] for one in places)


async def test_guide_primers_are_unique_in_a_genome_with_the_own_locus_too(tmp_path: Path) -> None:
    sequence = sequence_of(HBB_RECORD)
    record = tmp_path / "gene.fa"
    record.write_text(f">HBB_gene\n{sequence[61000:65000]}\n")
    place = "join(1187..1278,1409..1631,2482..2610)"
    first = await bench(record, (HBB_RECORD,), location=place).run()
    pair = first.report["primers"][0]
    decoy = pair["left"] + "ATTA" * 100 + pair["right"].translate(TURN)[::-1]
    genome = tmp_path / "genome.fa"
    genome.write_text(f">whole\n{sequence}\n>decoy\n{decoy}\n")
    run = await bench(record, (genome,), location=place).run()
    assert run.outcome.is_success
    assert run.report["refusals"] == []
    assert run.report["chosen"] == first.report["chosen"]
    other = run.report["primers"][0]
    assert (other["left"], other["right"]) != (pair["left"], pair["right"])
