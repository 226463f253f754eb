"""Another tenant sees and changes nothing, through either door."""

import httpx2
import pytest
from mcp.shared.exceptions import MCPError

from tests.surfaces.test_http_errors import assert_problem
from tests.surfaces.test_http_jobs import ended, submit
from tests.surfaces.test_mcp import Era, call, connected, own_resources, refused
from tests.surfaces.world import World

pytestmark = pytest.mark.anyio


async def test_over_http(http: httpx2.AsyncClient, world: World) -> None:
    upload = (await http.post("/v1/files?name=a.fa", content=b"ACGT")).json()
    done = await ended(http, await submit(http, "hello"))
    running = await submit(http, "wait")
    artifact = (await http.get(f"/v1/jobs/{done['job_id']}/files")).json()["files"][0]
    bob = dict(world.bob.headers)
    for job_id in (done["job_id"], running["job_id"]):
        for path in ("", "/events", "/events/stream", "/files"):
            response = await http.get(f"/v1/jobs/{job_id}{path}", headers=bob)
            assert_problem(response, 404, "not_found")
        response = await http.post(f"/v1/jobs/{job_id}/cancel", headers=bob)
        assert_problem(response, 404, "not_found")
    for file_id in (upload["file_id"], artifact["file_id"]):
        assert_problem(await http.get(f"/v1/files/{file_id}", headers=bob), 404, "not_found")
        response = await http.post(f"/v1/files/{file_id}/link", headers=bob)
        assert_problem(response, 404, "not_found")
        body = {"template": "echo", "input": {"text": "a", "record": file_id}}
        assert_problem(await http.post("/v1/jobs", json=body, headers=bob), 404, "not_found")
    assert (await http.get("/v1/jobs", headers=bob)).json()["jobs"] == []
    keys = (await http.get("/v1/keys")).json()["keys"]
    assert len((await http.get("/v1/keys", headers=bob)).json()["keys"]) == 1
    response = await http.delete(f"/v1/keys/{keys[0]['key_id']}", headers=bob)
    assert_problem(response, 404, "not_found")
    assert (await http.get(f"/v1/jobs/{running['job_id']}")).json()["status"] in {
        "Queued",
        "Running",
    }


async def test_one_key_of_two_users_is_two_jobs(http: httpx2.AsyncClient, world: World) -> None:
    body = {"template": "echo", "input": {"text": "hello"}}
    key = {"idempotency-key": "same"}
    mine = await http.post("/v1/jobs", json=body, headers=key)
    theirs = await http.post("/v1/jobs", json=body, headers=dict(world.bob.headers) | key)
    assert (mine.status_code, theirs.status_code) == (201, 201)
    assert mine.json()["job_id"] != theirs.json()["job_id"]


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_over_mcp(url: str, world: World, era: Era) -> None:
    async with connected(url, world.alice, era) as alice:
        done = await call(
            alice, "bio_agent.run_task", template="echo", input={"text": "hello"}, wait=True
        )
        running = await call(alice, "bio_agent.run_task", template="echo", input={"text": "wait"})
    uris = [file["uri"] for file in done["files"]]
    uris += [f"uaol://jobs/{done['job_id']}/{name}" for name in ("report", "trace")]
    async with connected(url, world.bob, era) as bob:
        for job in (done, running):
            for name in ("bio_agent.stream_trace", "bio_agent.cancel_task"):
                assert (await refused(bob, name, job_id=job["job_id"]))["code"] == "not_found"
        given = {"text": "a", "record": done["files"][0]["file_id"]}
        error = await refused(bob, "bio_agent.run_task", template="echo", input=given)
        assert error["code"] == "not_found"
        assert await own_resources(bob) == []
        for uri in uris:
            with pytest.raises(MCPError) as caught:
                await bob.read_resource(uri)
            assert caught.value.data["code"] == "not_found"
