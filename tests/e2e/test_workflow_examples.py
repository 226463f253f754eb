"""Every published workflow runs through the running server, over HTTP and over MCP."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.e2e.platform import RECORD, ROOT, Books, Doors, Person

pytestmark = pytest.mark.anyio
FOLDER = ROOT / "docs" / "examples" / "workflows"
NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
LONG = "ATGGCCAAATAA" * 20
Ways = Callable[[Doors, str, Any], Awaitable[dict[str, Any]]]
# What each is given (FILE stands for an uploaded record), and what must be true of its output.
CASES: dict[str, tuple[Any, Callable[[Any], bool]]] = {
    "approval": (
        {"record": "FILE", "gene": "HBB"},
        lambda out: out["ordered"] and len(out["oligos"]) > 0 and out["note"] == "go",
    ),
    "branch": (
        {"sequence": LONG},
        lambda out: out["way"] == ["proteins"] and "proteins" in out["said"],
    ),
    "chain": ({"sequence": "ATGGCCAAATAA"}, lambda out: out["protein"] == "MAK"),
    "diamond": (
        {"file": "FILE", "gene": "HBB"},
        lambda out: out["record"].startswith("U01317") and float(out["said"]) > 0,
    ),
    "map_genes": (
        {"file": "FILE", "genes": ["HBB", "nix", "HBD"]},
        lambda out: (
            [one["gene"] for one in out["best"]] == ["HBB", "HBD"] and len(out["failed"]) == 1
        ),
    ),
    "nested_map": (
        {"records": [{"file": "FILE", "genes": ["HBB", "HBD"]}]},
        lambda out: out[0]["place"] == 0 and all(n > 0 for n in out[0]["guides"]),
    ),
    "single_tool": (None, lambda out: out["gc"] == 0.75),
    "waiting": (
        {"start": "2026-01-01T00:00:00Z", "file": "FILE", "pause_s": 0},
        lambda out: "U01317" in out["stdout"] and "${{ this }}" in out["stdout"],
    ),
}


def _filled(value: Any, file_id: str) -> Any:
    return json.loads(json.dumps(value).replace('"FILE"', json.dumps(file_id)))


async def _over_http(way: Doors, name: str, given: Any) -> dict[str, Any]:
    workflow = json.loads((FOLDER / f"{name}.json").read_bytes())
    body = {"workflow": workflow, "input": given}
    check = await way.http.post("/v1/workflows/check", json=body)
    assert check.json()["is_valid"], check.text
    made = await way.http.post("/v1/workflows/runs", json=body)
    assert made.status_code == 201, made.text
    assert made.json()["price_micro"] == check.json()["amount_micro"]
    job_id = made.json()["job_id"]
    if name == "approval":
        found: list[dict[str, Any]] = []
        while not found:
            await asyncio.sleep(0.2)
            found = (await way.get("/v1/workflows/questions"))["questions"]
        answer = {"step": found[0]["path"], "answer": {"order": True, "note": "go"}}
        taken = await way.http.post(f"/v1/jobs/{job_id}/answers", json=answer)
        assert taken.status_code == 200, taken.text
    await way.call("bio_agent.stream_trace", job_id=job_id)
    return await way.get(f"/v1/jobs/{job_id}")


async def _over_mcp(way: Doors, name: str, given: Any) -> dict[str, Any]:
    workflow = json.loads((FOLDER / f"{name}.json").read_bytes())
    if name != "approval":
        return await way.call("workflow.run", workflow=workflow, input=given, wait=True)
    job = await way.call("workflow.run", workflow=workflow, input=given)
    found: list[dict[str, Any]] = []
    while not found:
        await asyncio.sleep(0.2)
        found = (await way.call("workflow.questions", job_id=job["job_id"]))["questions"]
    answer = {"order": True, "note": "go"}
    await way.call("workflow.answer", job_id=job["job_id"], step=found[0]["path"], answer=answer)
    await way.call("bio_agent.stream_trace", job_id=job["job_id"])
    return await way.get(f"/v1/jobs/{job['job_id']}")


def test_every_example_has_a_case() -> None:
    assert sorted(CASES) == NAMES


@pytest.mark.usefixtures("sandboxed")
@pytest.mark.parametrize("over", [_over_http, _over_mcp], ids=["http", "mcp"])
@pytest.mark.parametrize("name", NAMES)
async def test_an_example_runs(
    way: Doors, alice: Person, books: Callable[[Person], Awaitable[Books]], name: str, over: Ways
) -> None:
    given, is_right = CASES[name]
    file_id = await way.upload(RECORD.read_bytes(), RECORD.name)
    job = await over(way, name, _filled(given, file_id))
    assert (job["status"], job["error"]) == ("Success", None)
    assert is_right(job["final_output"]["output"]), job["final_output"]
    steps = await way.get(f"/v1/jobs/{job['job_id']}/steps?limit=1000")
    prices = {node["node"]: node["price_micro"] for node in steps["graph"]}
    done = [step for step in steps["steps"] if step["state"] == "Success"]
    assert job["charged_micro"] == sum(prices.get(step["node"], 0) for step in done)
    after = await books(alice)
    assert (after.held, after.open_holds, after.captured) == (0, 0, job["charged_micro"])


async def test_a_run_that_waits_is_cancelled_and_pays_for_its_steps(
    way: Doors, alice: Person, books: Callable[[Person], Awaitable[Books]]
) -> None:
    translate = {"tool": "sequence.translate", "arguments": {"sequence": "ATGGCC"}}
    ask = {"wait": {"approval": {"title": "Go on?", "form": {}}}, "after": ["a"]}
    nodes = {"a": translate, "b": ask, "c": translate | {"after": ["b"]}}
    body = {"workflow": {"workflow": 1, "nodes": nodes}, "billing": "usage"}
    job = (await way.http.post("/v1/jobs", json=body)).json()
    url = f"/v1/jobs/{job['job_id']}"
    async with asyncio.timeout(30):
        while (await way.get(url))["status"] != "Waiting":
            await asyncio.sleep(0.05)
    done = (await way.http.post(f"{url}/cancel")).json()
    assert (done["status"], done["charged_micro"]) == ("Cancelled", job["price_micro"] // 2)
    after = await books(alice)
    assert (after.held, after.open_holds, after.captured) == (0, 0, done["charged_micro"])
    # Its owner goes on from there and pays for the rest only.
    again = await way.http.post(f"{url}/replay", json={"from_step": "b"})
    assert again.json()["price_micro"] == job["price_micro"] // 2
    await way.http.post(f"/v1/jobs/{again.json()['job_id']}/cancel")
