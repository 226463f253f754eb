"""A client of a running server: MCP for what is done, HTTP for files."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2

from app.kernel.errors import AppError, Code, app_error

if TYPE_CHECKING:
    from mcp import Client, MCPError

_TIMEOUT_S = 900.0


class Connection:
    """One signed-in connection."""

    def __init__(self, http: httpx2.AsyncClient, mcp: "Client") -> None:
        self._http = http
        self._mcp = mcp

    async def call(self, name: str, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Call an MCP tool; its error is raised with the code the server gave it."""
        result = await self._mcp.call_tool(name, dict(arguments or {}))
        body = result.structured_content
        if result.is_error:
            raise _reported(body, result.content)
        return body if isinstance(body, dict) else {}

    async def call_raw(self, name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Call an MCP tool and give its whole answer as JSON."""
        result = await self._mcp.call_tool(name, dict(arguments))
        if result.is_error:
            raise _reported(result.structured_content, result.content)
        return result.model_dump(mode="json", by_alias=True, exclude_none=True)

    async def tools(self) -> list[Any]:
        """The tools this key may call."""
        found: list[Any] = []
        cursor = None
        while True:
            page = await self._mcp.list_tools(cursor=cursor)
            found += page.tools
            if not (cursor := page.next_cursor):
                return found

    async def get(self, path: str, **params: Any) -> dict[str, Any]:
        """GET a JSON document of the HTTP interface."""
        return _body(await self._http.get(path, params=params))

    async def upload(self, path: Path) -> str:
        """Upload a file; gives its id."""
        response = await self._http.post(
            "/v1/files", params={"name": path.name}, content=_chunks(path)
        )
        return str(_body(response)["file_id"])

    async def files(self, job_id: str) -> list[dict[str, Any]]:
        """The files of a job, by name."""
        found: list[dict[str, Any]] = (await self.get(f"/v1/jobs/{job_id}/files"))["files"]
        return found

    async def read(self, file_id: str) -> bytes:
        """The bytes of a file, through a signed link."""
        link = _body(await self._http.post(f"/v1/files/{file_id}/link"))
        response = await self._http.get(link["url"])
        if response.is_error:
            _body(response)
        return response.content

    async def download(self, job_id: str, folder: Path) -> list[Path]:
        """Write a job's files into a folder; gives their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for file in await self.files(job_id):
            target = folder / Path(file["name"]).name
            target.write_bytes(await self.read(file["file_id"]))
            written.append(target)
        return written


async def _chunks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as source:
        while chunk := source.read(1 << 20):
            yield chunk


def _has_code(body: Any) -> bool:
    return isinstance(body, dict) and "code" in body


def _reported(body: Any, content: Any) -> AppError:
    if _has_code(body):
        error = app_error(str(body["code"]), str(body.get("message", "")), body.get("hint"))
        error.details.update(body.get("details") or {})
        return error
    text = " ".join(getattr(block, "text", "") for block in content or [])
    return AppError(Code.TOOL_FAILED, text or "The tool failed without a word.")


def _body(response: httpx2.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        body = {}
    if response.is_error:
        code, message = body.get("code", Code.INTERNAL), body.get("detail", response.reason_phrase)
        raise app_error(str(code), str(message), body.get("hint"))
    return dict(body)


@asynccontextmanager
async def connect(url: str, key: str) -> AsyncIterator[Connection]:
    """A connection to the server at `url` with an API key."""
    # Imported here: help and wrong usage should not wait for the protocol's library.
    from mcp import Client, MCPError
    from mcp.client.streamable_http import streamable_http_client

    headers = {"Authorization": f"Bearer {key}"}
    try:
        async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=_TIMEOUT_S) as http:
            # MCP's client says nothing of why it is refused; this says that the key is wrong.
            _body(await http.get("/v1/me"))
            transport = streamable_http_client(
                f"{url.rstrip('/')}/mcp", http_client=http, max_sse_event_size=None
            )
            async with Client(transport, read_timeout_seconds=_TIMEOUT_S) as mcp:
                yield Connection(http, mcp)
    except* (httpx2.TransportError, httpx2.HTTPStatusError, httpx2.InvalidURL) as group:
        raise _unreachable(url, group) from group
    except* MCPError as group:
        refusal = _first(group)
        assert isinstance(refusal, MCPError)
        raise _refused(refusal) from group


def _unreachable(url: str, group: BaseExceptionGroup[Any]) -> AppError:
    return AppError(
        Code.HUB_UNAVAILABLE,
        f"The server at {url} cannot be reached: {_first(group)}",
        hint="Start it with `uaol serve`, or unset UAOL_URL to run here.",
    )


def _refused(error: "MCPError") -> AppError:
    """The server's own error where it sent one, else what the protocol says."""
    return (
        _reported(error.data, [])
        if _has_code(error.data)
        else AppError(Code.TOOL_PROTOCOL_ERROR, f"The server refused the request: {error}")
    )


def _first(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group


@contextlib.contextmanager
def unwrapped() -> Any:
    """Task groups wrap what ends them; give back the `AppError` inside."""
    try:
        yield
    except BaseExceptionGroup as group:
        inner = _first(group)
        if isinstance(inner, AppError):
            raise inner from None
        raise
