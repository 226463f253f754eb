"""The knockout of HBB with the real tools: the trap of its paralog HBD, and every way to fail."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from app.agents.knockout.schema import report_schema
from app.kernel.errors import AppError, Code
from tests.agents.contexts import Killed, no_sandbox
from tests.agents.knockouts import HBB_RECORD, SAMPLES, Run, bench, sequence_of, tampered

pytestmark = pytest.mark.anyio
JSON = dict[str, Any]
FILES = {
    "report.md", "report.json", "guides.csv", "oligos.csv", "off_targets.csv", "map.svg",
    "map.png", "knockout.gb", "provenance.json",
}  # fmt: skip
TURN = str.maketrans("ACGT", "TGCA")
HBB_CDS = "join(62187..62278,62409..62631,63482..63610)"


def copies(sequence: str, spacer: str) -> int:
    """Perfect matches on both strands, whatever the PAM."""
    return sequence.count(spacer) + sequence.count(spacer.translate(TURN)[::-1])


def chosen_of(run: Run) -> list[JSON]:
    by_id = {one["id"]: one for one in run.report["candidates"]}
    return [by_id[name] for name in run.report["chosen"]]


async def test_no_guide_that_cuts_the_paralog_is_chosen_however_well_it_scores() -> None:
    run = await bench().run()
    assert run.outcome.is_success
    sequence = sequence_of(HBB_RECORD)
    ranked = sorted(
        (one for one in run.report["candidates"] if one["scores"]["crisprscan"] is not None),
        key=lambda one: -(one["scores"]["rule_set_3"] or one["scores"]["crisprscan"]),
    )
    traps = [one for one in ranked[:20] if copies(sequence, one["spacer"]) > 1]
    assert len(traps) >= 3
    for trap in traps:
        assert trap["id"] not in run.report["chosen"]
        assert "perfect_off_target" in trap["refused_because"]
    assert all(copies(sequence, one["spacer"]) == 1 for one in chosen_of(run))


async def test_the_chosen_guides_lie_apart_in_two_exons_and_break_no_rule() -> None:
    run = await bench().run()
    chosen = chosen_of(run)
    assert len(chosen) == 4
    assert len({one["exon"] for one in chosen}) >= 2
    cuts = sorted(one["cut"] for one in chosen)
    assert all(b - a >= 20 for a, b in pairwise(cuts))
    assert all(one["refused_because"] == [] for one in chosen)
    assert [one["id"] for one in run.report["oligos"]] == run.report["chosen"]
    assert {one["id"] for one in run.report["primers"]} == set(run.report["chosen"])


async def test_the_report_is_whole_and_fits_its_published_schema() -> None:
    run = await bench().run()
    assert set(run.files) == FILES
    jsonschema_rs.validate(report_schema(), run.report)
    assert [one["status"] for one in run.report["checks"]] == ["passed"] * 8
    assert "U01317.1 alone" in run.report["limits"][0]
    assert run.report["limits"][0] in run.files["report.md"].decode().replace("\\", "")
    assert run.files["map.png"].startswith(b"\x89PNG")
    for one in chosen_of(run):
        assert one["spacer"] in run.files["knockout.gb"].decode()
    assert run.outcome.output["chosen"][0]["id"] == run.report["chosen"][0]


async def test_the_report_shows_the_guides_that_score_alone_would_have_picked() -> None:
    run = await bench().run()
    page = run.files["report.md"].decode()
    section = page.split("## Guides that the score alone would have picked")[1].split("\n## ")[0]
    named = [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("| g0")]
    assert named
    assert not set(named) & set(run.report["chosen"])
    for code in ("perfect_off_target", "outside_window"):
        assert f"`{code}`" in page


async def test_score_alone_is_refused_with_the_reason_and_the_second_try_succeeds() -> None:
    run = await bench(policies=("score_only", "specific")).run()
    assert run.outcome.is_success
    assert [(role, status) for role, _, status in run.ledger.walked][2:6] == [
        ("coder", "Success"),
        ("evaluator", "Refused"),
        ("coder", "Success"),
        ("evaluator", "Success"),
    ]
    [failed] = [one for one in run.ctx.of("check.failed") if one["check"] == "no_close_off_target"]
    assert "perfect site" in failed["reason"]
    [back] = [one for one in run.ctx.of("agent.handoff") if one["from"] == "evaluator"][:1]
    assert back["to"] == "coder"
    assert failed["reason"] in back["reason"]
    [refusal] = run.report["refusals"]
    assert refusal["exclude"]
    assert not set(refusal["exclude"]) & set(run.report["chosen"])
    assert "Try 1 was refused" in run.files["report.md"].decode()


async def test_where_every_guide_has_a_second_copy_the_run_fails(tmp_path: Path) -> None:
    gene = sequence_of(HBB_RECORD)[62000:63800]
    genome = tmp_path / "twice.fa"
    genome.write_text(f">one\n{'AT' * 30}{gene}\n>two\n{'GC' * 30}{gene}\n")
    run = await bench(backgrounds=(genome,)).run()
    assert not run.outcome.is_success
    assert run.outcome.files == ()
    assert run.outcome.error is not None
    assert run.outcome.error.code is Code.NO_GUIDE
    assert run.outcome.error.details["refused"]["perfect_off_target"] == 81
    assert run.ctx.of("report.ready") == []


async def test_the_genes_own_locus_in_a_genome_is_no_off_target(tmp_path: Path) -> None:
    record = tmp_path / "gene.fa"
    record.write_text(f">HBB_gene\n{sequence_of(HBB_RECORD)[61000:65000]}\n")
    place = "join(1187..1278,1409..1631,2482..2610)"
    run = await bench(record, (HBB_RECORD,), location=place).run()
    assert run.outcome.is_success
    [locus] = run.report["own_loci"]
    assert (locus["genome"], locus["contig"], locus["guides"]) == ("background 1", "U01317.1", 81)
    whole = await bench().run()
    spacers = [one["spacer"] for one in chosen_of(run)]
    assert spacers == [one["spacer"] for one in chosen_of(whole)]


async def test_a_background_given_twice_is_searched_once(tmp_path: Path) -> None:
    twin = tmp_path / "twin.gb"
    twin.write_bytes(HBB_RECORD.read_bytes())
    run = await bench(backgrounds=(twin,)).run()
    assert run.outcome.is_success
    assert len(run.report["searched"]) == 1
    assert any("searched once" in note for note in run.report["notes"])


async def test_a_check_that_cannot_run_is_shown_and_never_counted_as_passed() -> None:
    run = await bench(tools={"sandbox.run_python": no_sandbox}).run()
    assert run.outcome.is_success
    [absent] = run.ctx.of("check.not_run")
    assert absent["check"] == "isolated_recount"
    assert "sandbox_unavailable" in absent["reason"]
    by_name = {one["name"]: one for one in run.report["checks"]}
    assert by_name["isolated_recount"]["status"] == "not_run"
    assert "NOT RUN" in run.files["report.md"].decode()


def _no_off_targets(answer: JSON) -> None:
    for guide in answer["guides"]:
        guide["sites"] = []
        guide["counts_by_pam"] = {pam: [0] * 5 for pam in guide["counts_by_pam"]}


def _other_overhang(answer: JSON) -> None:
    for oligo in answer["oligos"]:
        oligo["top"] = "CACG" + oligo["top"][4:]


def _longer_product(answer: JSON) -> None:
    for pair in answer["pairs"]:
        pair["product_size"] += 1


def _shifted_cut(answer: JSON) -> None:
    for guide in answer["guides"]:
        guide["cut"] += 1


FAULTS = [
    ("crispr.find_off_targets", _no_off_targets, "counts_equal"),
    ("cloning.design_oligos", _other_overhang, "oligos_assemble"),
    ("cloning.design_primers", _longer_product, "primers_unique"),
    ("crispr.enumerate_guides", _shifted_cut, "guides_located"),
]


@pytest.mark.parametrize(("tool", "fault", "check"), FAULTS)
async def test_a_fault_of_a_tool_is_found_by_the_other_road(
    tool: str, fault: Any, check: str
) -> None:
    run = await bench(tools=tampered(tool, fault)).run()
    assert run.outcome.error is not None
    assert run.outcome.error.code is Code.CHECK_FAILED
    assert run.outcome.error.details["refusals"][0]["attempt"] == 1
    assert check in {one["check"] for one in run.ctx.of("check.failed")}


BAD = [
    ({"gene": None}, Code.INVALID_INPUT, "HBE1"),
    ({"gene": "BRCA2"}, Code.GENE_NOT_FOUND, "HBB"),
    ({"location": "join(1..x)"}, Code.BAD_LOCATION, "join(1..x)"),
]


@pytest.mark.parametrize(("given", "code", "said"), BAD)
async def test_bad_input_ends_the_run_in_the_planner(given: JSON, code: Code, said: str) -> None:
    job = bench(**given)
    with pytest.raises(AppError) as caught:
        await job.run()
    assert caught.value.code is code
    assert said in f"{caught.value.message} {caught.value.hint}"
    assert job.ledger.rows == []


async def test_a_record_without_genes_asks_for_a_location(tmp_path: Path) -> None:
    record = tmp_path / "plain.fa"
    record.write_text(f">plain\n{sequence_of(HBB_RECORD)[61000:62000]}\n")
    with pytest.raises(AppError) as caught:
        await bench(record, gene=None).run()
    assert caught.value.code is Code.NO_CODING_SEQUENCE
    assert "location" in (caught.value.hint or "")


@pytest.mark.parametrize("death", ["coder:1:cloning", "evaluator:1:verify.amplify", "reporter:1"])
async def test_a_resumed_run_writes_the_same_bytes(death: str) -> None:
    whole = await bench().run()
    job = bench()
    job.ctx.kill_at = death
    with pytest.raises(Killed):
        await job.run()
    job.ctx.kill_at = None
    assert (await job.run()).files == whole.files


async def test_a_larger_background_changes_the_figures_and_is_named() -> None:
    genome = SAMPLES / "human_chr6p21_HLA_BA000025.gb.gz"
    run = await bench(backgrounds=(genome,)).run()
    assert run.outcome.is_success
    assert [one["role"] for one in run.report["searched"]] == ["record", "background"]
    assert "2,229,817 bases" in run.report["limits"][0]
    sites = [site for one in run.report["candidates"] for site in one["off_targets"]["worst_sites"]]
    assert {site["genome"] for site in sites} == {"record", "background 1"}


async def test_the_same_bytes_uploaded_again_give_the_same_bytes(tmp_path: Path) -> None:
    whole = await bench().run()
    again = tmp_path / HBB_RECORD.name
    again.write_bytes(HBB_RECORD.read_bytes())
    job = bench(again, file_id=77)
    run = await job.run()
    assert run.files.keys() == whole.files.keys()
    assert [name for name in run.files if run.files[name] != whole.files[name]] == []
