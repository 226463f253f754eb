"""The options of the knockout with the real tools: scaffold, variants, donors, refused oligos."""

import csv
import io
from typing import Any

import pytest

from app.kernel.errors import AppError, Code
from tests.agents.knockouts import HBB_RECORD, Run, bench, sequence_of, tampered

pytestmark = pytest.mark.anyio
JSON = dict[str, Any]
HBD_HITS = {"Hsu2013": 1, "Chen2013": 3}


def ranked(run: Run) -> list[JSON]:
    """Candidates that cut in the first 65 % of the coding sequence, best Rule Set 3 first."""
    kept = [one for one in run.report["candidates"] if one["cds_percent"] <= 65]
    return sorted(kept, key=lambda one: -one["scores"]["rule_set_3"])


@pytest.mark.parametrize("tracr", HBD_HITS)
async def test_the_best_scored_guides_that_cut_hbd_are_never_chosen(tracr: str) -> None:
    run = await bench(tracr=tracr).run()
    assert run.report["provenance"]["parameters"]["tracr"] == tracr
    perfect = [one for one in ranked(run)[:6] if "perfect_off_target" in one["refused_because"]]
    assert len(perfect) == HBD_HITS[tracr]
    assert not {one["id"] for one in perfect} & set(run.report["chosen"])
    usable = [one for one in ranked(run) if one["cds_percent"] >= 5]
    assert (usable[0]["id"], usable[0]["off_targets"]["counts_by_pam"]["NGG"][0]) == ("g041", 1)


async def test_guides_over_a_known_variant_are_refused_and_the_report_says_what_is_known() -> None:
    whole = await bench().run()
    first = {one["id"]: one for one in whole.report["candidates"]}[whole.report["chosen"][0]]
    base = sequence_of(HBB_RECORD)[first["start"] + 5]
    run = await bench(variants=[f"{first['start'] + 6}{base}>T"]).run()
    assert first["id"] not in run.report["chosen"]
    by_id = {one["id"]: one for one in run.report["candidates"]}
    assert by_id[first["id"]]["refused_because"] == ["known_variant"]
    assert any("1 variant(s) given" in limit for limit in run.report["limits"])


async def test_a_variant_that_does_not_fit_ends_the_run_in_the_planner() -> None:
    job = bench(variants=["62206C>T"])
    with pytest.raises(AppError, match="has A there") as caught:
        await job.run()
    assert caught.value.code is Code.BAD_LOCATION
    assert job.ledger.rows == []


async def test_no_guide_of_the_nmd_free_tail_is_chosen() -> None:
    run = await bench(window_max=1.0, guides=10).run()
    by_id = {one["id"]: one for one in run.report["candidates"]}
    assert all(by_id[name]["cds_offset"] <= 315 - 55 for name in run.report["chosen"])
    assert "`nmd_escape`" in run.files["report.md"].decode()
    rows = list(csv.DictReader(io.StringIO(run.files["guides.csv"].decode())))
    assert {row["transcripts_hit"] for row in rows} == {"1"}
    assert run.report["target"]["transcripts"] == 1


async def test_donors_are_designed_checked_and_shown_only_when_asked_for() -> None:
    plain, run = await bench().run(), await bench(hdr=True).run()
    assert plain.report["donors"] is None
    assert "donor" not in plain.files["oligos.csv"].decode()
    assert [row["id"] for row in run.report["donors"]] == run.report["chosen"]
    checks = {one["name"]: one["status"] for one in run.report["checks"]}
    assert checks["donors_agree"] == "passed"
    assert "crispr.hdr_template" in run.report["provenance"]["tools"]
    page, sheet = run.files["report.md"].decode(), run.files["oligos.csv"].decode()
    for row in run.report["donors"]:
        assert row["donor"]["left_arm"] in page
        assert f"{row['id']}_donor,{row['donor']['sequence']},120," in sheet


def _other_arm(answer: JSON) -> None:
    answer["left_arm"] = "A" * len(answer["left_arm"])
    answer["sequence"] = answer["left_arm"] + answer["right_arm"]


async def test_a_wrong_donor_is_found_by_the_other_road() -> None:
    run = await bench(hdr=True, tools=tampered("crispr.hdr_template", _other_arm)).run()
    assert run.outcome.error is not None
    failed = [one for one in run.ctx.of("check.failed") if one["check"] == "donors_agree"]
    assert len(failed) >= 2
    assert "differ from the record" in failed[0]["reason"]


async def test_a_guide_whose_oligos_cannot_be_cloned_is_replaced() -> None:
    whole = await bench().run()
    first = {one["id"]: one for one in whole.report["candidates"]}[whole.report["chosen"][0]]

    def refuse(answer: JSON) -> None:
        for oligo in answer["oligos"]:
            if oligo["spacer"] == first["spacer"]:
                oligo["refused_because"] = ["enzyme_site"]

    run = await bench(tools=tampered("cloning.design_oligos", refuse)).run()
    assert run.outcome.is_success
    assert len(run.report["chosen"]) == 4
    by_id = {one["id"]: one for one in run.report["candidates"]}
    assert first["id"] not in run.report["chosen"]
    assert by_id[first["id"]]["refused_because"] == ["enzyme_site"]
    ids = run.report["chosen"]
    assert [one["id"] for one in run.report["oligos"]] == ids
    assert [one["id"] for one in run.report["primers"]] == ids
