"""The knockout of HBB through the running server: submitted, followed, charged, downloaded."""

import json
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from tests.e2e import platform as e2e
from tests.e2e.platform import BACKGROUND, PRICE, RECORD, ROOT, Books, Finished, Platform, doors
from tests.independent_guides import Audit

pytestmark = pytest.mark.anyio
FILES = {
    "report.md",
    "report.json",
    "guides.csv",
    "oligos.csv",
    "off_targets.csv",
    "map.svg",
    "map.png",
    "knockout.gb",
    "provenance.json",
}
ROLES = ["planner", "retriever", "coder", "evaluator", "reporter"]
SCHEMA = ROOT / "docs" / "reference" / "crispr_knockout.report.schema.json"


@pytest.fixture
async def files(platform: Platform, hbb: Finished) -> dict[str, bytes]:
    async with doors(platform, hbb.owner) as way:
        return await way.files(hbb.job_id)


@pytest.fixture
def report(files: dict[str, bytes]) -> e2e.JSON:
    return dict(json.loads(files["report.json"]))


async def test_it_succeeds_and_costs_its_quote(platform: Platform, hbb: Finished) -> None:
    assert (hbb.job["status"], hbb.job["error"]) == ("Success", None)
    assert (hbb.job["price_micro"], hbb.job["charged_micro"]) == (PRICE, PRICE)
    start = hbb.before.available
    assert hbb.before == Books(start, 0, 0, start, 0)
    assert hbb.after == Books(start - PRICE, 0, PRICE, start, 0)
    async with doors(platform, hbb.owner) as way:
        quote = await way.call("billing.get_quote", template="crispr_knockout")
        wallet = await way.call("billing.get_wallet")
    assert (quote["amount_micro"], quote["mode"]) == (PRICE, "outcome")
    assert wallet["captured_micro"] == PRICE


@pytest.mark.usefixtures("sandboxed")
async def test_its_trace_is_whole(platform: Platform, hbb: Finished) -> None:
    async with doors(platform, hbb.owner) as way:
        trace = await way.call("bio_agent.stream_trace", job_id=hbb.job_id, max_events=1000)
        over_http = await way.get(f"/v1/jobs/{hbb.job_id}/events?limit=1000")
    assert trace["is_terminal"]
    events = trace["events"]
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert over_http["events"] == events
    kinds = [event["kind"] for event in events]
    assert (kinds[0], kinds[-1]) == ("job.queued", "job.succeeded")
    started = [e["data"]["role"] for e in events if e["kind"] == "agent.started"]
    assert started == ROLES
    assert [e["data"]["attempt"] for e in events if e["kind"] == "job.started"] == [1]
    assert kinds.count("check.passed") == 8
    assert "check.failed" not in kinds


async def test_its_files_are_the_same_by_every_way(
    platform: Platform, hbb: Finished, files: dict[str, bytes]
) -> None:
    assert set(files) == FILES
    assert {one["name"] for one in hbb.job["files"]} == FILES
    async with doors(platform, hbb.owner) as way:
        listed = {str(one.uri) for one in (await way.mcp.list_resources()).resources}
        for one in hbb.job["files"]:
            assert one["uri"] in listed
            assert one["size"] == len(files[one["name"]])
            [contents] = (await way.mcp.read_resource(one["uri"])).contents
            assert _bytes_of(contents) == files[one["name"]]
        [told] = (await way.mcp.read_resource(f"uaol://jobs/{hbb.job_id}/report")).contents
    assert _bytes_of(told) == files["report.md"]


def _bytes_of(contents: Any) -> bytes:
    import base64

    if (text := getattr(contents, "text", None)) is not None:
        return str(text).encode()
    return base64.b64decode(contents.blob)


async def test_the_report_keeps_its_schema(report: e2e.JSON) -> None:
    schema = json.loads(SCHEMA.read_text())
    jsonschema_rs.validate(schema, report)
    with pytest.raises(jsonschema_rs.ValidationError):
        jsonschema_rs.validate(schema, report | {"surprise": 1})


async def test_an_independent_script_finds_the_guides_clean(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    written = tmp_path / "report.json"
    written.write_bytes(files["report.json"])
    script = ROOT / "tests" / "independent_guides.py"
    # -I: nothing of this folder or of the environment can be imported.
    command = [sys.executable, "-I", str(script), str(written), str(RECORD), str(BACKGROUND)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("clean: 81 candidates, 4 chosen\n", 0), done.stderr


def _take_the_best_scored(report: e2e.JSON) -> None:
    order = sorted(report["candidates"], key=lambda one: -(one["scores"]["rule_set_3"] or 0))
    report["chosen"] = [one["id"] for one in order[:4]]


def _shift_a_guide(report: e2e.JSON) -> None:
    report["candidates"][7]["start"] += 1


def _hide_an_off_target(report: e2e.JSON) -> None:
    hit = next(c for c in report["candidates"] if c["off_targets"]["counts_by_pam"]["NGG"][0])
    hit["off_targets"]["counts_by_pam"]["NGG"][0] -= 1


def _spoil_an_oligo(report: e2e.JSON) -> None:
    oligo = report["oligos"][0]
    oligo["bottom"] = oligo["bottom"][:-1] + ("A" if oligo["bottom"][-1] != "A" else "C")


def _leave_a_guide_out(report: e2e.JSON) -> None:
    del report["candidates"][0]


def _swap_the_fragments(report: e2e.JSON) -> None:
    report["primers"][0]["fragments"].reverse()


@pytest.mark.parametrize(
    "spoil",
    [
        _take_the_best_scored,
        _shift_a_guide,
        _hide_an_off_target,
        _spoil_an_oligo,
        _leave_a_guide_out,
        _swap_the_fragments,
    ],
)
async def test_the_script_sees_what_is_wrong(report: e2e.JSON, spoil: Any) -> None:
    spoiled = deepcopy(report)
    spoiled["own_loci"] = []
    assert not list(Audit(spoiled, RECORD, []).findings())
    spoil(spoiled)
    assert list(Audit(spoiled, RECORD, []).findings())


async def test_the_best_scored_guides_cut_elsewhere_and_are_not_chosen(report: e2e.JSON) -> None:
    order = sorted(report["candidates"], key=lambda one: -(one["scores"]["rule_set_3"] or 0))
    close = {one["id"] for one in order[:6] if sum(one["off_targets"]["counts_by_pam"]["NGG"][:2])}
    assert len(close) == 3
    assert not close & set(report["chosen"])


async def test_the_same_key_is_the_same_job(platform: Platform, hbb: Finished, books: Any) -> None:
    key = hbb.submitted["idempotency_key"]
    before = await books(hbb.owner)
    async with doors(platform, hbb.owner) as way:
        again = await way.run(hbb.input, idempotency_key=key)
        body = {"template": "crispr_knockout", "input": hbb.input}
        answer = await way.http.post("/v1/jobs", json=body, headers={"Idempotency-Key": key})
    assert again["job_id"] == hbb.job_id
    assert (answer.status_code, answer.json()["job_id"]) == (200, hbb.job_id)
    assert await books(hbb.owner) == before


async def test_the_legacy_era_sees_the_same(platform: Platform, hbb: Finished) -> None:
    told: list[float] = []

    async def progress(done: float, _total: float | None, message: str | None) -> None:
        assert message
        told.append(done)

    key = hbb.submitted["idempotency_key"]
    task = {"template": "crispr_knockout", "input": hbb.input, "idempotency_key": key}
    async with doors(platform, hbb.owner, "legacy") as way:
        assert way.mcp.protocol_version == "2025-11-25"
        result = await way.mcp.call_tool(
            "bio_agent.run_task", task | {"wait": True}, progress_callback=progress
        )
        trace = await way.call("bio_agent.stream_trace", job_id=hbb.job_id, max_events=1000)
        [report] = (await way.mcp.read_resource(f"uaol://jobs/{hbb.job_id}/report")).contents
    assert not result.is_error
    job = dict(result.structured_content)
    assert _lasting(job) == _lasting(hbb.job)
    assert told == [event["seq"] for event in trace["events"]]
    assert report.mime_type.startswith("text/markdown")


def _lasting(job: e2e.JSON) -> e2e.JSON:
    """A job without its links, which are signed anew each time."""
    files = [{**one, "url": "", "expires": 0} for one in job["files"]]
    return {**job, "files": files}
