"""Every kind of bad input a client can send, at either door: its own code, nothing charged.

Three tables: files that a job finds to be bad, requests that never become a job, and bytes that
are no request at all.
"""

import gzip
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple
from uuid import uuid4

import httpx2
import pytest
from mcp.shared.exceptions import MCPError

from app.kernel.errors import CODES, Code
from tests.e2e.keeper import REQUEST_LIMIT, UPLOAD_LIMIT
from tests.e2e.platform import JSON, RECORD, Doors, Person, Platform, doors

pytestmark = pytest.mark.anyio
HBB = RECORD.read_bytes()
TERMINAL = {"Success", "Failed", "Cancelled", "Dead"}


def genbank(sequence: str, features: str = "", kind: str = "DNA") -> bytes:
    """A small GenBank record."""
    length = f"{len(sequence)} {'aa' if kind == 'protein' else 'bp'}"
    molecule = "" if kind == "protein" else "DNA"
    lines = [
        f"{index + 1:>9} " + " ".join(sequence[at : at + 10] for at in range(index, index + 60, 10))
        for index in range(0, len(sequence), 60)
    ]
    head = f"LOCUS       TEST {length:>18}    {molecule:<6}  linear   UNK 01-JAN-2020"
    return "\n".join(
        [head, "VERSION     TEST.1", "FEATURES             Location/Qualifiers"]
        + ([features] if features else [])
        + ["ORIGIN", *lines, "//", ""]
    ).encode()


def cds(location: str, gene: str = "HBB") -> str:
    """A CDS feature."""
    return f'     CDS             {location}\n                     /gene="{gene}"'


PROTEIN = "MVHLTPEEKSAVTALWGKVNVDEVGGEALGRLLVVYPWTQRFFESFGDLSTPDAVMGNPK"
AT_ONLY = "ATGAATAATAAATTATATAATTAA" * 20
# 100 MiB that travel as 100 KiB.
BOMB = gzip.compress(b">bomb\n" + b"ACGTACGTAC" * (10 * 2**20))


class BadFile(NamedTuple):
    """What a job is given, and the code it ends with."""

    name: str
    data: bytes
    code: Code
    more: Mapping[str, Any] = {"gene": "HBB"}
    role: str = "record"


BAD_FILES = [
    BadFile("prose", b"Dear editor, please find our sequence enclosed.", Code.NOT_A_SEQUENCE),
    BadFile("picture", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(200), Code.NOT_A_SEQUENCE),
    BadFile("web-page", b"<html><body>404 Not Found</body></html>", Code.NOT_A_SEQUENCE),
    BadFile("damaged-gzip", gzip.compress(HBB)[:5000], Code.NOT_A_SEQUENCE),
    BadFile("gaps", b">x\nACGT--ACGT**ACGT\n", Code.NOT_A_SEQUENCE, {"location": "1..9"}),
    BadFile("no-sequence", genbank("", cds("1..9")), Code.NOT_A_SEQUENCE),
    BadFile("protein-fasta", f">p\n{PROTEIN}\n".encode(), Code.PROTEIN_NOT_DNA),
    BadFile("protein-genbank", genbank(PROTEIN.lower(), kind="protein"), Code.PROTEIN_NOT_DNA),
    BadFile("only-spaces", b" \n\t\n ", Code.EMPTY_FILE),
    BadFile("gzip-of-nothing", gzip.compress(b""), Code.EMPTY_FILE),
    BadFile("gzip-bomb", BOMB, Code.FILE_TOO_LARGE),
    BadFile("other-gene", HBB, Code.GENE_NOT_FOUND, {"gene": "TP53"}),
    BadFile("no-cds", genbank("acgtacgtgg" * 30), Code.NO_CODING_SEQUENCE),
    BadFile("fasta-alone", b">x\n" + b"ACGTACGTGG" * 30, Code.NO_CODING_SEQUENCE),
    BadFile("no-pam", genbank(AT_ONLY.lower(), cds("1..480")), Code.NO_PAM_SITE),
    BadFile("outside", HBB, Code.BAD_LOCATION, {"location": "1..900000"}),
    BadFile("no-location", HBB, Code.BAD_LOCATION, {"location": "somewhere"}),
    BadFile("two-records", HBB + HBB, Code.INVALID_INPUT),
    BadFile("several-genes", HBB, Code.INVALID_INPUT, {}),
    BadFile("background", b"not a genome", Code.NOT_A_SEQUENCE, role="backgrounds"),
    BadFile("protein-background", f">p\n{PROTEIN}\n".encode(), Code.PROTEIN_NOT_DNA,
            role="backgrounds"),
    BadFile("vector", b"not a plasmid", Code.NOT_A_SEQUENCE, role="vector_file"),
    BadFile("siteless-vector", b">v\n" + b"ACGTACGTAA" * 30, Code.VECTOR_SITE_MISSING,
            role="vector_file"),
]  # fmt: skip


@pytest.fixture
async def unharmed(alice: Person, books: Any) -> AsyncIterator[None]:
    """Whatever the test did, alice has what she had, and nothing is held."""
    before = await books(alice)
    yield
    assert await books(alice) == before
    assert (before.held, before.open_holds, before.captured) == (0, 0, 0)


async def given(way: Doors, bad: BadFile) -> JSON:
    if bad.role == "record":
        return {"record": await way.upload(bad.data, bad.name), **bad.more}
    file = await way.upload(bad.data, bad.name)
    good = {"record": await way.upload(HBB), **bad.more}
    return good | {bad.role: [file] if bad.role == "backgrounds" else file}


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("bad", BAD_FILES, ids=lambda bad: bad.name)
async def test_a_bad_file_ends_the_job_with_its_code(way: Doors, bad: BadFile) -> None:
    told = await way.run(await given(way, bad))
    assert (told["status"], told["code"]) == ("Failed", bad.code.value), told
    assert told["message"]
    assert told["hint"]
    job = await way.get(f"/v1/jobs/{told['job_id']}")
    assert job["error"]["code"] == bad.code.value
    assert (job["is_terminal"], job["charged_micro"]) == (True, 0)
    assert not job["final_output"]
    trace = await way.get(f"/v1/jobs/{told['job_id']}/events")
    assert trace["is_terminal"]
    assert trace["events"][-1]["kind"] == "job.failed"
    assert trace["events"][-1]["data"]["error"]["code"] == bad.code.value
    assert (await way.get(f"/v1/jobs/{told['job_id']}/files"))["files"] == []
    with pytest.raises(MCPError) as caught:
        await way.mcp.read_resource(f"uaol://jobs/{told['job_id']}/report")
    assert caught.value.error.data["code"] == "not_found"


class BadRequest(NamedTuple):
    """A request for a task, and the code it is refused with."""

    name: str
    code: Code
    change: Mapping[str, Any] = {}
    template: Any = "crispr_knockout"
    pointer: str | None = None


def deep(levels: int) -> Any:
    value: Any = "bottom"
    for _ in range(levels):
        value = [value]
    return value


NOWHERE = str(uuid4())
BAD_REQUESTS = [
    BadRequest("unknown-template", Code.TEMPLATE_UNKNOWN, template="crispr_knockin"),
    BadRequest("no-template", Code.TEMPLATE_UNKNOWN, template="../etc"),
    BadRequest("template-of-wrong-type", Code.INVALID_INPUT, template=5),
    BadRequest("unknown-field", Code.UNKNOWN_FIELD, {"colour": "red"}, pointer="/colour"),
    BadRequest("text-for-number", Code.INVALID_INPUT, {"guides": "four"}, pointer="/guides"),
    BadRequest("number-for-text", Code.INVALID_INPUT, {"gene": 5}, pointer="/gene"),
    BadRequest("fraction", Code.INVALID_INPUT, {"guides": 2.5}, pointer="/guides"),
    BadRequest("too-many", Code.INVALID_INPUT, {"guides": 11}, pointer="/guides"),
    BadRequest("none", Code.INVALID_INPUT, {"guides": 0}, pointer="/guides"),
    BadRequest("text-for-list", Code.INVALID_INPUT, {"backgrounds": "hg38"}),
    BadRequest("other-pam", Code.INVALID_INPUT, {"pam": "TTTV"}, pointer="/pam"),
    BadRequest("unknown-vector", Code.INVALID_INPUT, {"vector": "pUC19"}, pointer="/vector"),
    BadRequest("empty-gene", Code.INVALID_INPUT, {"gene": ""}, pointer="/gene"),
    BadRequest("empty-window", Code.INVALID_INPUT, {"window_min": 0.5, "window_max": 0.2}),
    BadRequest("no-record", Code.INVALID_INPUT, {"record": None}, pointer="/record"),
    BadRequest("path-for-file", Code.INVALID_INPUT, {"record": "/etc/passwd"}, pointer="/record"),
    BadRequest("no-such-file", Code.NOT_FOUND, {"record": NOWHERE}, pointer="/record"),
    BadRequest("nul", Code.INVALID_INPUT, {"gene": "HB\x00B"}),
    BadRequest("nul-in-a-name", Code.INVALID_INPUT, {"ge\x00ne": "HBB"}),
    BadRequest("huge-number", Code.INVALID_INPUT, {"guides": 10**30}),
    BadRequest("deep", Code.INVALID_INPUT, {"gene": deep(200)}),
    BadRequest("huge", Code.PAYLOAD_TOO_LARGE, {"gene": "A" * (REQUEST_LIMIT + 1)}),
    BadRequest("inline-nul", Code.INVALID_INPUT, {"record": {"text": "\x00", "name": "a"}}),
    BadRequest("inline-empty", Code.EMPTY_FILE, {"record": {"text": "", "name": "a.gb"}}),
    BadRequest("inline-path", Code.UNKNOWN_FIELD, {"record": {"path": "/etc/passwd"}}),
]


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("bad", BAD_REQUESTS, ids=lambda bad: bad.name)
async def test_a_bad_request_makes_no_job(way: Doors, bad: BadRequest) -> None:
    base = {"gene": "HBB"}
    if "record" not in bad.change:
        base["record"] = await way.upload(HBB)
    body = {"template": bad.template, "input": base | bad.change}
    answer = await way.http.post("/v1/jobs", json=body)
    problem = assert_problem(answer, bad.code)
    if bad.code is Code.PAYLOAD_TOO_LARGE:
        rpc = {"jsonrpc": "2.0", "id": 1, "method": "tools/call",
               "params": {"name": "bio_agent.run_task", "arguments": body}}  # fmt: skip
        assert (await _post_mcp(way, json.dumps(rpc).encode())).status_code == 413
    else:
        told = await way.refused("bio_agent.run_task", **body)
        assert told["code"] == bad.code.value
        assert told["message"]
        if bad.pointer is not None:
            assert problem["details"]["pointer"].endswith(bad.pointer)
            assert told["details"]["pointer"].endswith(bad.pointer)
    assert (await way.get("/v1/jobs"))["jobs"] == []


def assert_problem(answer: httpx2.Response, code: Code) -> JSON:
    """The answer is the problem document of that code."""
    problem = answer.json()
    assert (problem["code"], answer.status_code) == (code.value, CODES[code].status), problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["detail"]
    return dict(problem)


async def _post_mcp(way: Doors, body: bytes) -> httpx2.Response:
    headers = {
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2025-11-25",
    }
    return await way.http.post("/mcp", content=body, headers=headers)


NO_REQUESTS = {
    "nothing": b"",
    "prose": b"please knock out HBB",
    "half": b'{"template": "crispr_knockout", "input": {',
    "not-an-object": b"[1, 2, 3]",
    "a-number": b"42",
    "not-utf-8": b'{"template": "\xff\xfe"}',
    "nan": b'{"template": "crispr_knockout", "input": {"guides": NaN}}',
    "infinity": b'{"template": "crispr_knockout", "input": {"guides": 1e999}}',
    "lone-surrogate": b'{"template": "crispr_knockout", "input": {"gene": "\\ud800"}}',
    "nul": b'{"template": "crispr\\u0000", "input": {}}',
    "very-deep": b'{"template":"crispr_knockout","input":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "endless-depth": b"[" * 200_000,
    "many-digits": b'{"template": "crispr_knockout", "input": {"guides": ' + b"9" * 10_000 + b"}}",
}


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("body", NO_REQUESTS.values(), ids=NO_REQUESTS.keys())
async def test_bytes_that_are_no_request(way: Doors, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    for path in ("/v1/jobs", "/v1/quotes", "/v1/tools/sequence.gc_content/call"):
        answer = await way.http.post(path, content=body, headers=headers)
        assert answer.json()["code"] in {"invalid_input", "unknown_field"}, answer.text
        assert answer.status_code in {400, 422}
    rpc = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"bio_agent.run_task",'
    for sent in (body, rpc + b'"arguments":' + (body or b'""') + b"}}"):
        answer = await _post_mcp(way, sent)
        assert answer.status_code < 500, answer.text
        assert _is_refused(answer), answer.text
    assert (await way.get("/v1/jobs"))["jobs"] == []


def _is_refused(answer: httpx2.Response) -> bool:
    """A JSON-RPC error, a problem document, or a tool's result that is an error."""
    text = answer.text
    if answer.headers["content-type"].startswith("text/event-stream"):
        text = next(line[6:] for line in text.splitlines() if line.startswith("data: {"))
    told = json.loads(text)
    return "error" in told or "code" in told or told["result"]["isError"]


@pytest.mark.usefixtures("unharmed")
async def test_an_empty_upload(way: Doors) -> None:
    answer = await way.http.post("/v1/files?name=a.gb", content=b"")
    assert_problem(answer, Code.EMPTY_FILE)


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("is_declared", [True, False])
async def test_an_upload_beyond_the_limit(way: Doors, is_declared: bool) -> None:
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent <= 4 * UPLOAD_LIMIT:
            sent += 2**18
            yield b"A" * 2**18

    content = b"A" * (UPLOAD_LIMIT + 1) if is_declared else chunks()
    answer = await way.http.post("/v1/files?name=huge.fa", content=content)
    assert_problem(answer, Code.PAYLOAD_TOO_LARGE)
    # The largest that is allowed is.
    assert await way.upload(b"A" * UPLOAD_LIMIT)


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("name", ["", "a\x00b", "a" * 5000])
async def test_an_upload_with_a_bad_name(way: Doors, name: str) -> None:
    answer = await way.http.post("/v1/files", params={"name": name}, content=b"ACGT")
    assert_problem(answer, Code.INVALID_INPUT)


async def test_no_credits(platform: Platform, pauper: Person, books: Any) -> None:
    before = await books(pauper)
    async with doors(platform, pauper) as way:
        task = {
            "template": "crispr_knockout",
            "input": {"record": await way.upload(HBB), "gene": "HBB"},
        }
        answer = await way.http.post("/v1/jobs", json=task)
        problem = assert_problem(answer, Code.INSUFFICIENT_CREDITS)
        assert problem["hint"]
        told = await way.refused("bio_agent.run_task", **task)
        assert told["code"] == Code.INSUFFICIENT_CREDITS.value
        assert (await way.get("/v1/jobs"))["jobs"] == []
    assert await books(pauper) == before
    assert (before.available, before.open_holds) == (0, 0)


@pytest.mark.usefixtures("unharmed")
async def test_one_key_twice(way: Doors) -> None:
    """The same body gives the same job, through either door; another one is refused."""
    key = uuid4().hex
    file = await way.upload(b"no sequence at all")
    first = {"template": "crispr_knockout", "input": {"record": file, "gene": "HBB"}}
    other = {"template": "crispr_knockout", "input": {"record": file, "gene": "HBD"}}
    headers = {"Idempotency-Key": key}
    made = await way.http.post("/v1/jobs", json=first, headers=headers)
    again = await way.http.post("/v1/jobs", json=first, headers=headers)
    assert (made.status_code, again.status_code) == (201, 200)
    job_id = made.json()["job_id"]
    assert again.json()["job_id"] == job_id
    assert (await way.run(first["input"], idempotency_key=key))["job_id"] == job_id
    answer = await way.http.post("/v1/jobs", json=other, headers=headers)
    assert_problem(answer, Code.IDEMPOTENCY_MISMATCH)
    told = await way.refused("bio_agent.run_task", **other, idempotency_key=key)
    assert told["code"] == Code.IDEMPOTENCY_MISMATCH.value
    assert [job["job_id"] for job in (await way.get("/v1/jobs"))["jobs"]] == [job_id]


@pytest.mark.usefixtures("unharmed")
async def test_one_key_and_the_same_text_inline(way: Doors) -> None:
    key = uuid4().hex
    given = {"record": {"text": "no sequence", "name": "a.gb"}, "gene": "HBB"}
    first = await way.run(given, idempotency_key=key)
    assert first["code"] == Code.NOT_A_SEQUENCE.value
    assert (await way.run(given, idempotency_key=key))["job_id"] == first["job_id"]
    changed = given | {"record": {"text": "another text", "name": "a.gb"}}
    told = await way.refused(
        "bio_agent.run_task", template="crispr_knockout", input=changed, idempotency_key=key
    )
    assert told["code"] == Code.IDEMPOTENCY_MISMATCH.value


BAD_CALLS = {
    "no-such-tool": ("sequence.gc_contents", {}, Code.TOOL_UNKNOWN),
    "no-argument": ("sequence.gc_content", {}, Code.INVALID_INPUT),
    "wrong-type": ("sequence.gc_content", {"sequence": 5}, Code.INVALID_INPUT),
    "nul": ("sequence.gc_content", {"sequence": "AC\x00GT"}, Code.INVALID_INPUT),
    "no-file": ("sequence.parse_record", {"file": NOWHERE}, Code.NOT_FOUND),
    "path": ("sequence.parse_record", {"file": "/etc/passwd"}, Code.INVALID_INPUT),
    "python": ("sandbox.run_python", {"code": 5}, Code.INVALID_INPUT),
}


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize(("tool", "arguments", "code"), BAD_CALLS.values(), ids=BAD_CALLS.keys())
async def test_a_bad_tool_call(way: Doors, tool: str, arguments: JSON, code: Code) -> None:
    answer = await way.http.post(f"/v1/tools/{tool}/call", json={"arguments": arguments})
    assert_problem(answer, code)
    if code is not Code.TOOL_UNKNOWN:  # a protocol error over MCP, shown in test_tenants
        assert (await way.refused(tool, **arguments))["code"] == code.value
