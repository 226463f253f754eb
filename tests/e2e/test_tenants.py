"""Bob and alice's finished knockout: he sees nothing of it and changes nothing, at either door.

Each refusal must also be the very one he gets for a thing that does not exist: otherwise it would
tell him that it does.
"""

import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from mcp.shared.exceptions import MCPError

from app.kernel.errors import Code
from tests.e2e.platform import RECORD, Doors, Finished, Person, Platform, doors
from tests.e2e.test_bad_input import assert_problem
from tests.surfaces.test_mcp import own_resources

pytestmark = pytest.mark.anyio
NOBODY = str(uuid4())


@pytest.fixture
async def bobs(platform: Platform, bob: Person) -> AsyncIterator[Doors]:
    """Bob's doors."""
    async with doors(platform, bob) as opened:
        yield opened


@pytest.fixture
async def alices(platform: Platform, hbb: Finished) -> AsyncIterator[Doors]:
    """The doors of the knockout's owner."""
    async with doors(platform, hbb.owner) as opened:
        yield opened


@pytest.fixture
async def untouched(alices: Doors, hbb: Finished, bob: Person, books: Any) -> AsyncIterator[None]:
    """Alice's job and books, and bob's books, are what they were."""

    async def state() -> list[Any]:
        job = await alices.get(f"/v1/jobs/{hbb.job_id}")
        trace = await alices.get(f"/v1/jobs/{hbb.job_id}/events?limit=1000")
        return [job, trace, await books(hbb.owner), await books(bob)]

    before = await state()
    assert before[0]["status"] == "Success"
    yield
    assert await state() == before


async def test_the_owner_passes_where_bob_will_not(alices: Doors, hbb: Finished) -> None:
    file = hbb.input["record"]
    for path in (
        f"/v1/jobs/{hbb.job_id}",
        f"/v1/jobs/{hbb.job_id}/events",
        f"/v1/jobs/{hbb.job_id}/files",
        f"/v1/files/{file}",
    ):
        assert (await alices.http.get(path)).status_code == 200
    task = {"template": "crispr_knockout", "input": hbb.input}
    key = {"Idempotency-Key": hbb.submitted["idempotency_key"]}
    assert (await alices.http.post("/v1/jobs", json=task, headers=key)).status_code == 200


def _without(told: dict[str, Any], *ids: str) -> str:
    """What was told, whatever the ids in it."""
    text = json.dumps(told)
    for one in ids:
        text = text.replace(one, "ID")
    return text


@pytest.mark.usefixtures("untouched")
async def test_over_http(bobs: Doors, hbb: Finished) -> None:
    paths = [
        ("GET", "/v1/jobs/{job}"),
        ("GET", "/v1/jobs/{job}/events"),
        ("GET", "/v1/jobs/{job}/events/stream"),
        ("GET", "/v1/jobs/{job}/files"),
        ("POST", "/v1/jobs/{job}/cancel"),
        ("GET", "/v1/files/{file}"),
        ("POST", "/v1/files/{file}/link"),
    ]
    files = [hbb.input["record"], *(one["file_id"] for one in hbb.job["files"])]
    for method, path in paths:
        for file in files if "{file}" in path else files[:1]:
            real = {"job": hbb.job_id, "file": file}
            answer = await bobs.http.request(method, path.format(**real))
            problem = assert_problem(answer, Code.NOT_FOUND)
            nothing = await bobs.http.request(method, path.format(job=NOBODY, file=NOBODY))
            unreal = assert_problem(nothing, Code.NOT_FOUND)
            assert _without(problem, *real.values()) == _without(unreal, NOBODY)
    assert (await bobs.get("/v1/jobs"))["jobs"] == []


@pytest.mark.usefixtures("untouched")
async def test_over_mcp(bobs: Doors, hbb: Finished) -> None:
    calls: list[tuple[str, dict[str, Any]]] = [
        ("bio_agent.stream_trace", {"wait": False}),
        ("bio_agent.stream_trace", {"wait": True, "timeout_s": 5}),
        ("bio_agent.cancel_task", {}),
    ]
    for name, arguments in calls:
        told = await bobs.refused(name, job_id=hbb.job_id, **arguments)
        assert told["code"] == "not_found"
        nothing = await bobs.refused(name, job_id=NOBODY, **arguments)
        assert _without(told, hbb.job_id) == _without(nothing, NOBODY)


@pytest.mark.usefixtures("untouched")
async def test_resources(bobs: Doors, alices: Doors, hbb: Finished) -> None:
    theirs = await own_resources(alices.mcp)
    assert len(theirs) == len(hbb.job["files"]) + 1
    assert await own_resources(bobs.mcp) == []
    for uri in [*theirs, f"uaol://jobs/{hbb.job_id}/report"]:
        assert (await alices.mcp.read_resource(uri)).contents
        with pytest.raises(MCPError) as caught:
            await bobs.mcp.read_resource(uri)
        assert caught.value.error.data["code"] == "not_found"


@pytest.mark.usefixtures("untouched")
async def test_alices_file_is_no_input_of_bobs(bobs: Doors, hbb: Finished) -> None:
    file = hbb.input["record"]
    own = await bobs.upload(b"no sequence")
    task: dict[str, Any]
    for task in (
        {"record": file, "gene": "HBB"},
        {"record": own, "gene": "HBB", "backgrounds": [file]},
        {"record": own, "gene": "HBB", "vector_file": hbb.job["files"][0]["file_id"]},
    ):
        body = {"template": "crispr_knockout", "input": task}
        assert_problem(await bobs.http.post("/v1/jobs", json=body), Code.NOT_FOUND)
        assert (await bobs.refused("bio_agent.run_task", **body))["code"] == "not_found"
    call = {"arguments": {"file": file}}
    answer = await bobs.http.post("/v1/tools/sequence.parse_record/call", json=call)
    assert_problem(answer, Code.NOT_FOUND)
    told = await bobs.refused("sequence.parse_record", file=file)
    assert told["code"] == "not_found"
    nested = {"spacers": ["GATTACAGATTACAGATTAC"], "genomes": [own, file]}
    assert (await bobs.refused("crispr.find_off_targets", **nested))["code"] == "not_found"
    assert (await bobs.get("/v1/jobs"))["jobs"] == []


@pytest.mark.usefixtures("untouched")
async def test_links(platform: Platform, bobs: Doors, alices: Doors, hbb: Finished) -> None:
    """A link opens the one file it was signed for, until then, and nothing else."""
    first, second = (one["file_id"] for one in hbb.job["files"][:2])
    link = httpx2.URL((await alices.http.post(f"/v1/files/{first}/link")).json()["url"])
    async with httpx2.AsyncClient(timeout=60) as stranger:
        assert (await stranger.get(link)).status_code == 200
        later = link.copy_set_param("expires", int(link.params["expires"]) + 1)
        forged = link.copy_set_param("signature", "A" * len(link.params["signature"]))
        other = link.copy_with(path=f"/v1/files/{second}/content")
        for url in (later, forged, other):
            assert_problem(await stranger.get(url), Code.LINK_INVALID)
        assert_problem(await stranger.get(link.copy_with(query=b"")), Code.INVALID_INPUT)
    assert_problem(await bobs.http.get(other), Code.LINK_INVALID)


async def test_alices_idempotency_key_is_not_bobs(bobs: Doors, hbb: Finished) -> None:
    own = await bobs.upload(b"no sequence")
    key = hbb.submitted["idempotency_key"]
    told = await bobs.run({"record": own, "gene": "HBB"}, idempotency_key=key)
    assert told["code"] == "not_a_sequence"
    assert told["job_id"] != hbb.job_id


@pytest.mark.usefixtures("untouched")
async def test_alices_mcp_session_is_not_bobs(bobs: Doors, alices: Doors) -> None:
    headers = {
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2025-11-25",
    }
    hello = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "t", "version": "1"},
        },
    }
    opened = await alices.http.post("/mcp", json=hello, headers=headers)
    assert opened.status_code == 200
    session = {"mcp-session-id": opened.headers["mcp-session-id"]}
    ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
    stolen = await bobs.http.post("/mcp", json=ping, headers=headers | session)
    assert stolen.status_code in {403, 404}
    mine = await alices.http.post("/mcp", json=ping, headers=headers | session)
    assert mine.status_code == 200
    stop = await bobs.http.delete("/mcp", headers=headers | session)
    assert stop.status_code in {403, 404}
    mine = await alices.http.post("/mcp", json=ping, headers=headers | session)
    assert mine.status_code == 200
    assert (await alices.http.delete("/mcp", headers=headers | session)).status_code == 200


async def test_what_is_everybodys(bobs: Doors, alices: Doors) -> None:
    names = [tool.name for tool in (await bobs.mcp.list_tools()).tools]
    assert names == [tool.name for tool in (await alices.mcp.list_tools()).tools]
    assert {"bio_agent.run_task", "crispr.find_off_targets", "sandbox.run_python"} <= set(names)
    registered = [tool["name"] for tool in (await bobs.get("/v1/tools"))["tools"]]
    assert registered == [name for name in names if name in set(registered)]
    assert {"crispr.find_off_targets", "sandbox.run_python"} <= set(registered)
    assert not {"bio_agent.run_task", "jobs.submit"} & set(registered)
    quote = await bobs.call("billing.get_quote", tool="sequence.gc_content")
    assert (quote["kind"], quote["amount_micro"]) == ("tool", 10_000)
    with pytest.raises(MCPError) as caught:
        await bobs.mcp.call_tool("sequence.gc_contents", {})
    assert caught.value.error.data["code"] == "tool_unknown"


async def test_a_tool_call_is_charged_to_the_caller(bobs: Doors, bob: Person, books: Any) -> None:
    before = await books(bob)
    file = await bobs.upload(RECORD.read_bytes())
    assert (await bobs.call("sequence.parse_record", file=file))["id"] == "U01317.1"
    assert (await bobs.call("sequence.gc_content", sequence="GATTACA"))["length"] == 7
    after = await books(bob)
    assert (after.available, after.captured) == (before.available - 20_000, 20_000)
    assert (after.held, after.open_holds) == (0, 0)


@pytest.mark.parametrize("header", [None, "Bearer uaol_" + "x" * 43, "Basic YTpi", "Bearer"])
async def test_who_has_no_key(platform: Platform, hbb: Finished, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    async with httpx2.AsyncClient(base_url=platform.url, headers=headers, timeout=60) as nobody:
        for method, path in (
            ("GET", "/v1/me"),
            ("GET", "/v1/jobs"),
            ("GET", f"/v1/jobs/{hbb.job_id}"),
            ("GET", f"/v1/jobs/{hbb.job_id}/events/stream"),
            ("POST", "/v1/jobs"),
            ("POST", "/v1/files?name=a"),
            ("POST", "/mcp"),
            ("GET", "/mcp"),
            ("DELETE", "/mcp"),
        ):
            answer = await nobody.request(method, path)
            assert_problem(answer, Code.UNAUTHENTICATED)
            assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_keys_of_ones_own(platform: Platform, bob: Person) -> None:
    headers = bob.headers
    async with httpx2.AsyncClient(base_url=platform.url, headers=headers, timeout=60) as http:
        made = (await http.post("/v1/keys", json={"name": "spare", "scopes": ["jobs"]})).json()
        spare = {"Authorization": f"Bearer {made['secret']}"}
        assert (await http.get("/v1/jobs", headers=spare)).status_code == 200
        assert_problem(await http.get("/v1/wallet", headers=spare), Code.FORBIDDEN)
        # A key makes no key that may do more.
        wish = {"name": "root", "scopes": ["admin"]}
        assert_problem(await http.post("/v1/keys", json=wish), Code.FORBIDDEN)
        gone = await http.delete(f"/v1/keys/{made['key']['key_id']}")
        assert gone.status_code < 300
        assert_problem(await http.get("/v1/jobs", headers=spare), Code.UNAUTHENTICATED)
