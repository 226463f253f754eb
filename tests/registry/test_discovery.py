"""The index of tools over a real database and the real default model."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from app.kernel.db import Database
from app.kernel.errors import AppError, Code
from app.kernel.principal import SERVICE
from app.kernel.settings import Settings
from app.llm import make_embedder
from app.llm.openai import OpenAiEmbedder
from app.registry import Discovery, Document, Registry, ServerConfig, ToolDefinition

pytestmark = pytest.mark.anyio


def tool(name: str, description: str, **arguments: str) -> Document:
    properties = {key: {"type": "string", "description": said} for key, said in arguments.items()}
    return Document(name, "", description, {"type": "object", "properties": properties})


TOOLS = [
    tool("files.read", "Read a text file from the disk.", path="Where the file is."),
    tool("files.write", "Write text to a file, replacing what was there.", path="Where."),
    tool("git.commit", "Record changes to a repository.", message="What was changed."),
    tool("git.log", "Show the history of a repository."),
    tool("weather.forecast", "The weather of the next days at a place.", city="Name of a city."),
    tool("mail.send", "Send an e-mail to somebody.", to="Address of the recipient."),
    tool("calendar.create_event", "Add a meeting to the calendar.", start="When it begins."),
    tool("maps.route", "The way from one place to another by car, train or on foot."),
    tool("sequence.gene", "Fetch a gene of the human genome by its symbol.", symbol="As HBB."),
    tool("crispr.design", "Design guide RNAs that cut a gene, with off-target counts."),
    tool("primer.design", "Design primers for PCR around a target region."),
    tool("translate.text", "Translate a text into another language.", language="Which one."),
    tool("image.resize", "Make a picture smaller or larger."),
    tool("db.query", "Run a SQL query against a database and return the rows."),
    tool("stocks.quote", "The present price of a share at the stock exchange."),
    tool("sandbox.run_python", "Run Python code where it can do no harm."),
]
# Questions in other words than the descriptions', and what should be among the first three.
ASKED = {
    "will it rain tomorrow in Lisbon": "weather.forecast",
    "tell a colleague something by electronic mail": "mail.send",
    "knock out a gene with cas9": "crispr.design",
    "amplify a piece of DNA": "primer.design",
    "look something up in my postgres tables": "db.query",
    "what is a share of this company worth": "stocks.quote",
    "scale a photo down": "image.resize",
    "how do I get to the airport": "maps.route",
    "save these notes to disk": "files.write",
    "execute a script": "sandbox.run_python",
    "who changed this code last": "git.log",
    "schedule an appointment": "calendar.create_event",
    "say this in French": "translate.text",
    "sequence of BRCA1": "sequence.gene",
}
NAMES = [one.name for one in TOOLS]


@pytest.fixture
async def discovery() -> Discovery:
    return Discovery(make_embedder(Settings()))


async def index(database: Database, discovery: Discovery, documents: Sequence[Document]) -> int:
    """Bring the index up to date; how many rows had to be made."""
    async with database.begin(SERVICE) as uow:
        missing = await discovery.missing(uow, documents)
    rows = await discovery.indexed(missing)
    async with database.begin(SERVICE) as uow:
        await discovery.write(uow, rows, [one.name for one in documents])
    return len(rows)


async def search(
    database: Database, discovery: Discovery, query: str, names: Sequence[str] = NAMES
) -> list[str]:
    vector = await discovery.vector(query)
    async with database.begin(SERVICE) as uow:
        return [one.name for one in await discovery.search(uow, query, vector, names, 3)]


async def test_questions_find_their_tools(database: Database, discovery: Discovery) -> None:
    await index(database, discovery, TOOLS)
    missed = {
        query: found
        for query, wanted in ASKED.items()
        if wanted not in (found := await search(database, discovery, query))
    }
    assert len(missed) <= 2, missed


async def test_a_name_comes_first(database: Database, discovery: Discovery) -> None:
    await index(database, discovery, TOOLS)
    for name in NAMES:
        assert (await search(database, discovery, name))[0] == name
        assert (await search(database, discovery, f"what does {name.upper()} do"))[0] == name


async def test_only_the_named_tools_are_found(database: Database, discovery: Discovery) -> None:
    await index(database, discovery, TOOLS)
    found = await search(database, discovery, "read a file", ["git.log", "mail.send"])
    assert set(found) == {"git.log", "mail.send"}
    assert await search(database, discovery, "read a file", []) == []


async def test_only_what_changed_is_made_anew(database: Database, discovery: Discovery) -> None:
    assert await index(database, discovery, TOOLS) == len(TOOLS)
    assert await index(database, discovery, TOOLS) == 0
    changed = replace(TOOLS[0], description="Feed the cat.")
    assert await index(database, discovery, [changed, *TOOLS[1:3]]) == 1
    assert await search(database, discovery, "give food to my pet", NAMES) == [
        "files.read",
        "files.write",
        "git.commit",
    ]


@pytest.mark.parametrize(
    "query", ["the", "!!!", "&|!:*()<->'\\", "中文 工具", "a" * 500, "' or 1=1"]
)
async def test_any_text_is_a_query(database: Database, discovery: Discovery, query: str) -> None:
    await index(database, discovery, TOOLS)
    assert len(await search(database, discovery, query)) == 3


async def test_a_process_behind_the_registry_takes_no_tool_of_others_away(
    database: Database, discovery: Discovery
) -> None:
    registry = Registry()
    server = ServerConfig("git", command=("true",), is_trusted=True)
    async with database.begin(SERVICE) as uow:
        await registry.pin(uow, server, [ToolDefinition("git", "log", "", {"type": "object"})])
    await index(database, discovery, TOOLS)
    await index(database, discovery, TOOLS[:1])
    async with database.begin(SERVICE) as uow:
        rows = await uow.execute("select tool_name from app.tool_index order by tool_name")
        assert rows.scalars().all() == ["files.read", "git.log"]


async def test_no_tool_gets_more_of_the_index_or_of_a_service_than_others() -> None:
    texts: list[str] = []

    class Noting:
        model = "noting"

        async def embed(self, given: Sequence[str]) -> list[list[float]]:
            texts.extend(given)
            return [[1.0] for _ in given]

    stuffed = Document("a.b", "weather " * 10_000, "\U0001f9ea" * 10_000, {"type": "object"})
    (row,) = await Discovery(Noting()).indexed([stuffed])
    assert len(row.title) == 200
    assert len(row.body) == 4_000
    assert len(texts[0].encode()) <= 8_000
    assert texts[0].startswith("a b weather weather")


Answer = Callable[[dict[str, Any]], httpx2.Response]


def served(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> list[httpx2.Request]:
    """An embedding service in the true wire format, in place of the network."""
    seen: list[httpx2.Request] = []

    def handle(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return answer(json.loads(request.content))

    client = httpx2.AsyncClient
    transport = httpx2.MockTransport(handle)
    monkeypatch.setattr(
        "app.llm.openai.httpx2.AsyncClient", lambda **keys: client(transport=transport, **keys)
    )
    return seen


def embeddings(asked: dict[str, Any]) -> httpx2.Response:
    rows = [
        {"object": "embedding", "index": at, "embedding": [3.0, 4.0 * at]}
        for at in range(len(asked["input"]))
    ]
    return httpx2.Response(
        200, json={"object": "list", "data": rows[::-1], "model": asked["model"]}
    )


async def test_a_service_of_openais_api_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = served(monkeypatch, embeddings)
    embedder = OpenAiEmbedder("https://models.example/v1/", "small", "key")
    assert await embedder.embed(["a", "b"]) == [[1.0, 0.0], [0.6, 0.8]]
    (request,) = seen
    assert str(request.url) == "https://models.example/v1/embeddings"
    assert request.headers["authorization"] == "Bearer key"
    assert json.loads(request.content) == {
        "model": "small",
        "input": ["a", "b"],
        "encoding_format": "float",
    }
    assert len(await embedder.embed(["x"] * 70)) == 70
    assert len(seen) == 4


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: httpx2.Response(500),
        lambda _: httpx2.Response(401, json={"error": {"message": "no"}}),
        lambda _: httpx2.Response(200, text="<html>"),
        lambda _: httpx2.Response(200, json={"data": []}),
        lambda _: httpx2.Response(200, json={"data": [{"index": 0, "embedding": [0, 0]}]}),
        lambda _: httpx2.Response(200, json={"data": [{"index": 0, "embedding": "x"}]}),
        lambda _: httpx2.Response(200, text='{"data": [{"index": 0, "embedding": [NaN, 1]}]}'),
        lambda _: httpx2.Response(200, text='{"data": [{"index": 0, "embedding": [1e999]}]}'),
    ],
)
async def test_a_service_that_fails_says_so(
    monkeypatch: pytest.MonkeyPatch, answer: Answer
) -> None:
    served(monkeypatch, answer)
    with pytest.raises(AppError) as caught:
        await OpenAiEmbedder("https://models.example/v1", "small", None).embed(["a"])
    assert caught.value.code is Code.EMBEDDING_FAILED


async def test_vectors_of_two_models_never_meet(
    database: Database, discovery: Discovery, monkeypatch: pytest.MonkeyPatch
) -> None:
    await index(database, discovery, TOOLS)
    served(monkeypatch, embeddings)
    embedder = OpenAiEmbedder("https://me:hush@models.example/v1/", "small", None)
    assert embedder.model == "small of models.example/v1"
    other = Discovery(embedder)
    assert await search(database, other, "read a file") == []
    assert await index(database, other, TOOLS) == len(TOOLS)
    assert len(await search(database, other, "read a file")) == 3
