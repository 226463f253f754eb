"""Every error over HTTP is problem JSON with a stable code."""

import json
import logging
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from fastapi import FastAPI

from app.kernel.errors import CODES, Code
from tests.surfaces.world import World

pytestmark = pytest.mark.anyio
JSON = {"content-type": "application/json"}


def assert_problem(response: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/problem+json"
    body = dict(response.json())
    assert (response.status_code, body["status"], body["code"]) == (status, status, code)
    assert body["type"] == f"urn:uaol:error:{code}"
    assert body["title"] == CODES[Code(code)].meaning
    assert body["instance"] == response.request.url.path
    assert body["detail"]
    assert response.headers["x-request-id"]
    return body


async def test_no_such_route(http: httpx2.AsyncClient) -> None:
    assert_problem(await http.get("/v1/nothing"), 404, "not_found")


async def test_a_trailing_slash_is_not_a_redirect(http: httpx2.AsyncClient) -> None:
    assert_problem(await http.get("/v1/jobs/"), 404, "not_found")


async def test_a_wrong_method_is_told_all_that_there_are(http: httpx2.AsyncClient) -> None:
    response = await http.delete("/v1/jobs")
    body = assert_problem(response, 405, "method_not_allowed")
    assert (response.headers["allow"], body["hint"]) == ("GET, POST", "Use GET or POST.")


async def test_a_query_parameter_that_is_unknown(http: httpx2.AsyncClient, world: World) -> None:
    body = assert_problem(await http.get("/v1/jobs?after=x"), 422, "unknown_field")
    assert body["hint"] == "Known here: limit, before, status, kind, since."
    assert_problem(await http.get("/v1/wallet?job=x"), 422, "unknown_field")
    assert_problem(await http.get("/v1/jobs?kind=tools"), 422, "invalid_input")
    assert (await http.get("/healthz?from=probe")).status_code == 200


async def test_a_form_is_no_file(http: httpx2.AsyncClient) -> None:
    given = {"file": ("x.gb", b"LOCUS")}
    response = await http.post("/v1/files?name=x.gb", files=given)
    body = assert_problem(response, 422, "invalid_input")
    assert "--data-binary" in body["hint"]


async def test_wrong_method(http: httpx2.AsyncClient) -> None:
    response = await http.put("/v1/wallet")
    body = assert_problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "GET"
    assert body["hint"] == "Use GET."


@pytest.mark.parametrize(
    ("body", "code", "where"),
    [
        (b'{"kind":', "invalid_input", ""),
        (b"[1]", "invalid_input", ""),
        (b'{"kind":"tool"}', "invalid_input", "/name"),
        (b'{"kind":"magic","name":"x"}', "invalid_input", "/kind"),
        (b'{"kind":"tool","name":5}', "invalid_input", "/name"),
        (b'{"kind":"tool","name":"x","extra":1}', "unknown_field", "/extra"),
        (b'{"kind":"tool","name":"a\\u0000b"}', "invalid_input", "/name"),
        (b'{"kind":"tool","name":"\\ud800"}', "invalid_input", "/name"),
    ],
)
async def test_bad_bodies(http: httpx2.AsyncClient, body: bytes, code: str, where: str) -> None:
    problem = assert_problem(await http.post("/v1/quotes", content=body, headers=JSON), 422, code)
    assert problem["details"]["pointer"] == where


async def test_bodies_nothing_can_store(http: httpx2.AsyncClient) -> None:
    for text in ('{"a":NaN}', '{"a":99999999999999999999}', '{"a":' + "[" * 90 + "]" * 90 + "}"):
        content = f'{{"template":"echo","input":{text}}}'.encode()
        response = await http.post("/v1/jobs", content=content, headers=JSON)
        assert_problem(response, 422, "invalid_input")


async def test_hostile_nesting(http: httpx2.AsyncClient) -> None:
    content = b"[" * 30_000
    response = await http.post("/v1/jobs", content=content, headers=JSON)
    assert response.status_code in {400, 422}
    assert_problem(response, response.status_code, "invalid_input")


async def test_body_that_is_not_json_by_name(http: httpx2.AsyncClient) -> None:
    response = await http.post("/v1/quotes", content=b"a=b", headers={"content-type": "text/csv"})
    body = assert_problem(response, 422, "invalid_input")
    assert body["hint"] == "Send `Content-Type: application/json`, not 'text/csv'."
    listed = await http.post("/v1/quotes", content=b"[1]", headers=JSON)
    assert listed.json()["detail"] == "The body: this must be a JSON object."


async def test_words_of_checks_are_shown_without_those_of_a_library(
    http: httpx2.AsyncClient,
) -> None:
    job = {"template": "echo", "input": {"text": "x"}, "run_at": "tomorrow"}
    detail = (await http.post("/v1/jobs", json=job)).json()["detail"]
    assert detail.startswith("/run_at: not a moment of RFC 3339")


@pytest.mark.parametrize("header", [None, "Basic abc", "Bearer ", "Bearer nonsense"])
async def test_no_key(app: FastAPI, header: str | None) -> None:
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        headers = {} if header is None else {"authorization": header}
        response = await client.get("/v1/me", headers=headers)
    assert_problem(response, 401, "unauthenticated")
    assert response.headers["www-authenticate"].startswith("Bearer ")


async def test_bad_path_and_query(http: httpx2.AsyncClient) -> None:
    assert_problem(await http.get("/v1/jobs/not-an-id"), 422, "invalid_input")
    assert_problem(await http.get("/v1/jobs?limit=1000"), 422, "invalid_input")
    assert_problem(await http.get("/v1/templates/a%00b"), 422, "invalid_input")
    path = f"/v1/jobs/{uuid4()}/events?after_seq=99999999999"
    assert_problem(await http.get(path), 422, "invalid_input")


async def test_unknown_things(http: httpx2.AsyncClient) -> None:
    assert_problem(await http.get("/v1/templates/none"), 404, "template_unknown")
    assert_problem(await http.get(f"/v1/jobs/{uuid4()}"), 404, "not_found")
    assert_problem(await http.get(f"/v1/files/{uuid4()}"), 404, "not_found")
    assert_problem(await http.post("/v1/tools/no.such/call", json={}), 404, "tool_unknown")
    quote = {"kind": "template", "name": "none"}
    assert_problem(await http.post("/v1/quotes", json=quote), 404, "template_unknown")
    assert_problem(await http.delete(f"/v1/keys/{uuid4()}"), 404, "not_found")


async def test_too_large_by_declaration_and_by_count(http: httpx2.AsyncClient) -> None:
    big = json.dumps({"template": "echo", "input": {"text": "x" * 70_000}}).encode()
    response = await http.post("/v1/jobs", content=big, headers=JSON)
    assert_problem(response, 413, "payload_too_large")

    async def chunks() -> Any:
        for start in range(0, len(big), 8192):
            yield big[start : start + 8192]

    response = await http.post("/v1/jobs", content=chunks(), headers=JSON)
    assert_problem(response, 413, "payload_too_large")


async def test_idempotency_key_must_be_plain(http: httpx2.AsyncClient) -> None:
    body = {"template": "echo", "input": {"text": "x"}}
    for key in ("with space", "", "x" * 300):
        response = await http.post("/v1/jobs", json=body, headers={"idempotency-key": key})
        assert_problem(response, 422, "invalid_input")


async def test_a_fault_of_ours_has_an_event_id_and_no_cause(
    http: httpx2.AsyncClient,
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError("inner words")

    monkeypatch.setattr(world.services.billing, "wallet", broken)
    with caplog.at_level(logging.ERROR):
        body = assert_problem(await http.get("/v1/wallet"), 500, "internal")
    assert "inner words" not in json.dumps(body)
    event_id = body["details"]["event_id"]
    assert any(getattr(record, "event_id", None) == event_id for record in caplog.records)


async def test_the_given_request_id_is_kept_if_it_is_plain(http: httpx2.AsyncClient) -> None:
    kept = await http.get("/v1/me", headers={"x-request-id": "abc-1"})
    assert kept.headers["x-request-id"] == "abc-1"
    replaced = await http.get("/v1/me", headers={"x-request-id": "a b;c"})
    assert replaced.headers["x-request-id"] != "a b;c"


async def test_every_operation_documents_the_problem(http: httpx2.AsyncClient) -> None:
    document = (await http.get("/v1/openapi.json")).json()
    assert document["components"]["schemas"]["Problem"]["required"]
    assert "HTTPValidationError" not in document["components"]["schemas"]
    operations = [
        (path, told) for path, ways in document["paths"].items() for told in ways.values()
    ]
    assert len(operations) > 20
    for path, operation in operations:
        # A browser that a link sends there is told errors as a page.
        is_page = path.startswith(("/v1/oauth/connect/", "/v1/oauth/callback"))
        kind = "text/html" if is_page else "application/problem+json"
        assert kind in operation["responses"]["default"]["content"]
