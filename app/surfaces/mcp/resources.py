"""Jobs' files, reports and traces as MCP resources, each user's own; and everybody's data sets."""

import base64
from typing import Any
from urllib.parse import unquote, urlsplit
from uuid import UUID

import orjson
from mcp.server.lowlevel import Server
from mcp_types import PaginatedRequestParams, ReadResourceRequestParams

from app.kernel.errors import AppError, Code
from app.kernel.principal import Scope
from app.orchestration import JobView, definition_schema
from app.storage import StoredFile
from app.surfaces.mcp.apps import Apps
from app.surfaces.mcp.apps.views import LISTED, TEMPLATE
from app.surfaces.mcp.calls import Call, Context
from app.surfaces.mcp.datasets import BASE as DATA_SETS
from app.surfaces.mcp.datasets import TEMPLATE as DATA_SET
from app.surfaces.mcp.datasets import DataSets
from app.surfaces.mcp.longtasks import outcome
from app.surfaces.mcp.pages import page_of
from app.surfaces.mcp.results import Result, guarded
from app.surfaces.operations import PAGE, Operations
from app.surfaces.payloads import text_fault
from app.surfaces.views import file_uri

_JOBS_PER_PAGE = 20
_READ_LIMIT = 8 * 2**20
_REPORT = "report.md"
_TEXTUAL = {"application/json", "image/svg+xml", "application/xml", "application/x-ndjson"}
_SCHEMA_URI = "uaol://workflows/schema"
_STEPS = 1000
TEMPLATES = [
    {
        "uriTemplate": "uaol://jobs/{job_id}",
        "name": "job",
        "description": "A run with its files, as JSON.",
        "mimeType": "application/json",
    },
    {
        "uriTemplate": "uaol://jobs/{job_id}/files/{name}",
        "name": "job_file",
        "description": "A file that a run made.",
    },
    {
        "uriTemplate": "uaol://jobs/{job_id}/report",
        "name": "job_report",
        "description": "The report of a run that has ended.",
    },
    {
        "uriTemplate": "uaol://jobs/{job_id}/trace",
        "name": "job_trace",
        "description": "Every event of a run so far, as JSON.",
        "mimeType": "application/json",
    },
    {
        "uriTemplate": "uaol://jobs/{job_id}/steps",
        "name": "job_steps",
        "description": "The graph of a workflow's run and its steps with what they gave, as JSON.",
        "mimeType": "application/json",
    },
    {
        "uriTemplate": _SCHEMA_URI,
        "name": "workflow_schema",
        "description": "The JSON Schema of a workflow definition.",
        "mimeType": "application/json",
    },
    TEMPLATE,
    DATA_SET,
]


class Resources:
    """Lists and reads what a user's jobs left."""

    def __init__(self, operations: Operations, apps: Apps) -> None:
        self._ops = operations
        self._apps = apps
        self._data_sets = DataSets(operations.services.volumes)

    def register(self, server: Server[Any]) -> None:
        """Serve the methods."""
        page, read = PaginatedRequestParams, ReadResourceRequestParams
        server.add_request_handler("resources/list", page, guarded(self.answer_list))
        server.add_request_handler("resources/templates/list", page, guarded(self.answer_templates))
        server.add_request_handler("resources/read", read, guarded(self.answer_read))

    async def answer_list(self, context: Context, params: PaginatedRequestParams) -> Result:
        """A page of the caller's resources."""
        shown, cursor = await self.page(Call.of(context), params.cursor)
        result: Result = {"resources": shown, "resultType": "complete"}
        return result if cursor is None else result | {"nextCursor": cursor}

    async def answer_templates(self, _context: Context, params: PaginatedRequestParams) -> Result:
        """How the resources' URIs are made."""
        found = [(f"{place:04}", one) for place, one in enumerate(TEMPLATES)]
        size = self._ops.services.settings.mcp_page_size
        shown, cursor = page_of("templates", found, params.cursor, size)
        result: Result = {"resourceTemplates": shown, "resultType": "complete"}
        return result if cursor is None else result | {"nextCursor": cursor}

    async def answer_read(self, context: Context, params: ReadResourceRequestParams) -> Result:
        """One resource."""
        uri = str(params.uri)
        try:
            contents = await self.read(Call.of(context), uri)
        except AppError as error:
            if error.code is Code.NOT_FOUND:
                error.details["uri"] = uri[:200].encode(errors="replace").decode()
            raise
        return {"contents": [contents], "resultType": "complete"}

    async def page(self, call: Call, cursor: str | None) -> tuple[list[dict[str, Any]], str | None]:
        """The resources of a page of jobs, newest first, and the cursor of the next page.

        Data sets come first, and need no scope.
        """
        if not self._may_see_jobs(call):
            return self._data_sets.entries(), None
        jobs = await self._ops.jobs(call.principal, _JOBS_PER_PAGE, _cursor(cursor))
        shown = [LISTED, *self._data_sets.entries()] if cursor is None else []
        for job in jobs.jobs:
            base = f"uaol://jobs/{job.job_id}"
            title = job.template or job.kind
            shown.append(_entry(f"{base}/trace", "trace", f"Trace of {title}", "application/json"))
            if job.is_terminal:
                files = await self._ops.job_files(call.principal, job.job_id)
                shown += [_file_entry(file) for file in files]
        return shown, None if jobs.next is None else str(jobs.next)

    async def read(self, call: Call, uri: str) -> dict[str, Any]:
        """The contents of one resource; `not_found` for anything that is not the caller's."""
        if uri == _SCHEMA_URI:
            return _text(uri, "application/json", orjson.dumps(definition_schema()).decode())
        if uri.startswith(DATA_SETS):
            return await self._data_set(uri)
        if uri.startswith("ui://"):
            return await self._apps.read(call, uri)
        return await self._of_job(call, uri)

    async def _of_job(self, call: Call, uri: str) -> dict[str, Any]:
        job_id, parts = _parse(uri)
        match parts:
            case []:
                return await self._job(call, uri, job_id)
            case ["files", name]:
                return await self._file(call, uri, job_id, name)
            case ["report"]:
                return await self._report(call, uri, await self._ops.job(call.principal, job_id))
            case ["trace"]:
                return _text(uri, "application/json", await self._trace(call, job_id))
            case ["steps"]:
                return await self._steps(call, uri, job_id)
            case _:
                raise _missing(uri)

    def _may_see_jobs(self, call: Call) -> bool:
        try:
            call.principal.require(Scope.FILES)
        except AppError:
            if not self._data_sets.names():
                raise
            return False
        return True

    async def _data_set(self, uri: str) -> dict[str, Any]:
        text = await self._data_sets.read(uri)
        if text is None:
            raise _missing(uri)
        return _text(uri, "application/json", text)

    async def _job(self, call: Call, uri: str, job_id: UUID) -> dict[str, Any]:
        shown = await outcome(self._ops, call, await self._ops.job(call.principal, job_id))
        return _text(uri, "application/json", orjson.dumps(shown["structuredContent"]).decode())

    async def _steps(self, call: Call, uri: str, job_id: UUID) -> dict[str, Any]:
        steps = await self._ops.workflows.steps(call.principal, job_id, limit=_STEPS)
        body = steps.model_dump_json()
        if len(body) > _READ_LIMIT:
            raise AppError(
                Code.PAYLOAD_TOO_LARGE,
                "The steps are too many or too large for a resource.",
                hint="Read them in pages with workflow.steps.",
            )
        return _text(uri, "application/json", body)

    async def _file(self, call: Call, uri: str, job_id: UUID, name: str) -> dict[str, Any]:
        for file in await self._ops.job_files(call.principal, job_id):
            if file.name == name:
                return await self._contents(uri, file)
        raise _missing(uri)

    async def _report(self, call: Call, uri: str, job: JobView) -> dict[str, Any]:
        for file in await self._ops.job_files(call.principal, job.job_id):
            if file.name == _REPORT:
                return await self._contents(uri, file)
        if not job.final_output:
            raise _missing(uri)
        return _text(uri, "application/json", orjson.dumps(job.final_output).decode())

    async def _trace(self, call: Call, job_id: UUID) -> str:
        events, after = [], 0
        while page := (await self._ops.trace(call.principal, job_id, after, PAGE)).events:
            events += page
            after = page[-1].seq
        return orjson.dumps([event.as_json() for event in events]).decode()

    async def _contents(self, uri: str, file: StoredFile) -> dict[str, Any]:
        if file.size > _READ_LIMIT:
            raise AppError(
                Code.PAYLOAD_TOO_LARGE,
                f"{file.name} has {file.size} bytes, too many for a resource.",
                hint=f"Download it: POST /v1/files/{file.file_id}/link gives a link.",
                details={"file_id": str(file.file_id), "limit": _READ_LIMIT},
            )
        data = b"".join([chunk async for chunk in self._ops.files.storage.open(file)])
        if file.media_type.startswith("text/") or file.media_type in _TEXTUAL:
            try:
                return _text(uri, file.media_type, data.decode())
            except UnicodeDecodeError:
                pass
        blob = base64.b64encode(data).decode()
        return {"uri": uri, "mimeType": file.media_type, "blob": blob}


def _text(uri: str, media_type: str, text: str) -> dict[str, Any]:
    return {"uri": uri, "mimeType": media_type, "text": text}


def _entry(uri: str, name: str, title: str, media_type: str) -> dict[str, Any]:
    return {"uri": uri, "name": name, "title": title, "mimeType": media_type}


def _file_entry(file: StoredFile) -> dict[str, Any]:
    shown = _entry(file_uri(file), file.name, file.name, file.media_type)
    return shown | {"size": file.size}


def _cursor(cursor: str | None) -> UUID | None:
    try:
        return None if cursor is None else UUID(cursor)
    except ValueError:
        raise AppError(Code.INVALID_INPUT, "This is not a cursor of an earlier page.") from None


def _parse(uri: str) -> tuple[UUID, list[str]]:
    try:
        split = urlsplit(uri)
        job_id, *parts = [unquote(part) for part in split.path.lstrip("/").split("/")]
        is_ours = (split.scheme, split.netloc) == ("uaol", "jobs")
        if is_ours and not split.query and text_fault(uri) is None:
            return UUID(job_id), parts
    except ValueError:
        pass
    raise _missing(uri)


def _missing(uri: str) -> AppError:
    return AppError(
        Code.NOT_FOUND,
        "There is no such resource.",
        hint="List the resources.",
        details={"uri": uri[:200].encode(errors="replace").decode()},
    )
