"""Jobs and files over HTTP: submit, replay, trace, stream, cancel, download."""

import asyncio
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx2
import pytest
from fastapi import FastAPI

from tests.books import assert_balanced
from tests.surfaces.conftest import UPLOAD_LIMIT
from tests.surfaces.test_http_errors import assert_problem
from tests.surfaces.world import CREDITS, TASK_PRICE, World, person

pytestmark = pytest.mark.anyio


async def submit(http: httpx2.AsyncClient, text: str, **more: Any) -> dict[str, Any]:
    response = await http.post(
        "/v1/jobs", json={"template": "echo", "input": {"text": text, **more}}
    )
    assert response.status_code == 201, response.text
    assert response.headers["location"] == f"/v1/jobs/{response.json()['job_id']}"
    return dict(response.json())


async def ended(http: httpx2.AsyncClient, job: dict[str, Any]) -> dict[str, Any]:
    """Read the stream, which ends with the job."""
    await http.get(f"/v1/jobs/{job['job_id']}/events/stream")
    return dict((await http.get(f"/v1/jobs/{job['job_id']}")).json())


def frames(text: str) -> list[dict[str, str]]:
    blocks = [block for block in text.split("\n\n") if block and not block.startswith(":")]
    return [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]


async def test_a_job_from_submit_to_download(http: httpx2.AsyncClient, world: World) -> None:
    job = await submit(http, "hello")
    assert (job["template"], job["price_micro"]) == ("echo", TASK_PRICE)
    done = await ended(http, job)
    assert (done["status"], done["is_terminal"]) == ("Success", True)
    assert (done["charged_micro"], done["final_output"]["said"]) == (TASK_PRICE, "hello")
    files = (await http.get(f"/v1/jobs/{job['job_id']}/files")).json()["files"]
    assert [file["name"] for file in files] == ["raw data.bin", "report.md"]
    assert files[0]["uri"] == f"uaol://jobs/{job['job_id']}/files/raw%20data.bin"
    wallet = (await http.get("/v1/wallet")).json()
    assert wallet["available_micro"] == CREDITS - TASK_PRICE
    await assert_balanced(world.database)


async def test_a_failed_job_costs_nothing(http: httpx2.AsyncClient) -> None:
    done = await ended(http, await submit(http, "fail"))
    assert (done["status"], done["charged_micro"]) == ("Failed", 0)
    assert done["error"]["code"] == "check_failed"
    assert (await http.get("/v1/wallet")).json()["available_micro"] == CREDITS


async def test_one_key_is_one_job(http: httpx2.AsyncClient) -> None:
    headers = {"idempotency-key": "abc"}
    inline = {"text": "ACGT", "name": "a.fa"}
    body = {"template": "echo", "input": {"text": "once", "record": inline}}
    first = await http.post("/v1/jobs", json=body, headers=headers)
    again = await http.post("/v1/jobs", json=body, headers=headers)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["job_id"] == again.json()["job_id"]
    other = {"template": "echo", "input": {"text": "once", "record": inline | {"text": "ACGG"}}}
    response = await http.post("/v1/jobs", json=other, headers=headers)
    assert_problem(response, 409, "idempotency_mismatch")
    other = {"template": "echo", "input": {"text": "twice", "record": inline}}
    response = await http.post("/v1/jobs", json=other, headers=headers)
    assert_problem(response, 409, "idempotency_mismatch")
    assert len((await http.get("/v1/jobs")).json()["jobs"]) == 1


async def test_what_is_refused_leaves_nothing(http: httpx2.AsyncClient, world: World) -> None:
    async def refused(given: dict[str, Any], status: int, code: str) -> None:
        response = await http.post("/v1/jobs", json={"template": "echo", "input": given})
        assert_problem(response, status, code)

    await refused({"text": 5}, 422, "invalid_input")
    await refused({"text": "a", "colour": "red"}, 422, "unknown_field")
    await refused({"text": "a", "record": str(uuid4())}, 404, "not_found")
    await refused({"text": "a", "record": "nonsense"}, 422, "invalid_input")
    await refused({"text": "a", "record": {"text": "", "name": "a"}}, 422, "empty_file")
    await refused(
        {"text": "a", "record": {"text": "x" * 5000, "name": "a"}}, 413, "payload_too_large"
    )
    poor = await person(world.services, "poor@example.org", granted=0)
    body = {"template": "echo", "input": {"text": "a", "record": {"text": "A", "name": "a.fa"}}}
    response = await http.post("/v1/jobs", json=body, headers=dict(poor.headers))
    assert_problem(response, 402, "insufficient_credits")
    assert (await http.get("/v1/jobs", headers=dict(poor.headers))).json()["jobs"] == []
    assert (await http.get("/v1/jobs")).json() == {"jobs": [], "next": None}
    assert (await http.get("/v1/wallet")).json()["held_micro"] == 0


async def test_pages_of_jobs(http: httpx2.AsyncClient) -> None:
    made = [(await submit(http, "fail"))["job_id"] for _ in range(3)]
    first = (await http.get("/v1/jobs?limit=2")).json()
    assert [job["job_id"] for job in first["jobs"]] == made[:0:-1]
    rest = (await http.get(f"/v1/jobs?limit=2&before={first['next']}")).json()
    assert ([job["job_id"] for job in rest["jobs"]], rest["next"]) == (made[:1], None)


async def test_cancel(http: httpx2.AsyncClient, world: World) -> None:
    job = await submit(http, "wait")
    path = f"/v1/jobs/{job['job_id']}"
    response = await http.post(f"{path}/cancel")
    assert response.status_code == 200
    done = await ended(http, job)
    assert (done["status"], done["charged_micro"]) == ("Cancelled", 0)
    assert_problem(await http.post(f"{path}/cancel"), 409, "job_finished")
    await assert_balanced(world.database)


async def test_pages_of_the_trace(http: httpx2.AsyncClient) -> None:
    job = await submit(http, "hello")
    await ended(http, job)
    path = f"/v1/jobs/{job['job_id']}/events"
    whole = (await http.get(path)).json()
    kinds = [event["kind"] for event in whole["events"]]
    assert (kinds[0], kinds[-1]) == ("job.queued", "job.succeeded")
    assert [event["seq"] for event in whole["events"]] == list(range(1, len(kinds) + 1))
    assert (whole["is_terminal"], whole["next_seq"]) == (True, len(kinds))
    piece = (await http.get(f"{path}?after_seq=1&limit=2")).json()
    assert [event["seq"] for event in piece["events"]] == [2, 3]
    assert (piece["is_terminal"], piece["next_seq"]) == (False, 3)


async def test_the_stream_resumes_where_it_was_left(url: str, world: World) -> None:
    headers = dict(world.alice.headers)
    async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=60) as http:
        job = await submit(http, "wait")
        path = f"/v1/jobs/{job['job_id']}/events/stream"
        seen: list[str] = []
        async with http.stream("GET", path) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            async for line in response.aiter_lines():
                if line.startswith("id: "):
                    seen.append(line.removeprefix("id: "))
                if line == "event: progress":
                    break
        # The client is gone; the job is not.
        assert (await http.get(f"/v1/jobs/{job['job_id']}")).json()["status"] == "Running"
        world.task.go.set()
        rest = frames((await http.get(path, headers={"last-event-id": seen[-1]})).text)
        assert int(rest[0]["id"]) == int(seen[-1]) + 1
        assert rest[-1]["event"] == "job.succeeded"
        same = frames((await http.get(f"{path}?after_seq={seen[-1]}")).text)
        assert same == rest
        over = await http.get(path, headers={"last-event-id": rest[-1]["id"]})
        assert over.status_code == 204
        assert_problem(await http.get(path, headers={"last-event-id": "x"}), 422, "invalid_input")


async def test_upload_look_link_download(http: httpx2.AsyncClient, app: FastAPI) -> None:
    sent = await http.post(
        "/v1/files?name=caf%C3%A9%22.gb", content=b"LOCUS", headers={"content-type": "text/plain"}
    )
    assert sent.status_code == 201
    file = sent.json()
    assert (file["size"], file["media_type"], file["kind"]) == (5, "text/plain", "input")
    assert (await http.get(f"/v1/files/{file['file_id']}")).json() == file
    link = (await http.post(f"/v1/files/{file['file_id']}/link")).json()
    assert link["url"].startswith("http://localhost/v1/files/")
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as stranger:
        got = await stranger.get(link["url"])
        assert got.content == b"LOCUS"
        assert got.headers["x-content-type-options"] == "nosniff"
        disposition = got.headers["content-disposition"]
        assert disposition.startswith('attachment; filename="caf__.gb"')
        assert disposition.endswith("filename*=UTF-8''caf%C3%A9%22.gb")
        query = urlsplit(link["url"]).query
        for wrong in (query + "0", query.replace("expires=", "expires=9"), "expires=1&signature=x"):
            response = await stranger.get(f"/v1/files/{file['file_id']}/content?{wrong}")
            assert_problem(response, 403, "link_invalid")
        other = f"/v1/files/{uuid4()}/content?{query}"
        assert_problem(await stranger.get(other), 403, "link_invalid")
    job = await submit(http, "hello", record=file["file_id"])
    assert job["input"]["record"] == file["file_id"]


async def test_uploads_have_limits(http: httpx2.AsyncClient) -> None:
    assert_problem(await http.post("/v1/files?name=a", content=b""), 422, "empty_file")
    big = b"x" * (UPLOAD_LIMIT + 1)
    assert_problem(await http.post("/v1/files?name=a", content=big), 413, "payload_too_large")

    async def chunks() -> Any:
        for start in range(0, len(big), 1000):
            yield big[start : start + 1000]

    assert_problem(await http.post("/v1/files?name=a", content=chunks()), 413, "payload_too_large")
    assert_problem(await http.post("/v1/files", content=b"x"), 422, "invalid_input")
    assert_problem(await http.post("/v1/files?name=a%00b", content=b"x"), 422, "invalid_input")
    wrong = {"content-type": "no media type"}
    response = await http.post("/v1/files?name=a", content=b"x", headers=wrong)
    assert_problem(response, 422, "invalid_input")


async def test_submits_at_once_with_one_key(http: httpx2.AsyncClient, world: World) -> None:
    async def once() -> int:
        response = await http.post(
            "/v1/jobs",
            json={"template": "echo", "input": {"text": "hello"}},
            headers={"idempotency-key": "same"},
        )
        return response.status_code

    statuses = await asyncio.gather(*(once() for _ in range(4)))
    assert set(statuses) <= {200, 201}
    assert len((await http.get("/v1/jobs")).json()["jobs"]) == 1
    await assert_balanced(world.database)
