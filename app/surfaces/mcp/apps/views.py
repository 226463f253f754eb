"""The `ui://` resources and what the server says of them."""

import base64
from typing import Any
from uuid import UUID

from mcp.server.apps import APP_MIME_TYPE, EXTENSION_ID
from mcp.server.lowlevel import Server

from app.kernel.errors import AppError, Code
from app.kernel.principal import Scope
from app.orchestration import JobView
from app.storage import StoredFile
from app.surfaces.mcp.apps.page import page
from app.surfaces.mcp.calls import Call
from app.surfaces.operations import Operations
from app.surfaces.views import JobOut

JOB_VIEW = "ui://uaol/job"
_REPORT = "report.md"
_REPORT_LIMIT = 2 * 2**20
_IMAGE_LIMIT = 512 * 2**10
_IMAGES = {"image/svg+xml", "image/png", "image/jpeg"}
# The page has all it needs in itself: no domain is asked for, so hosts allow none.
_META = {"ui": {"csp": {}, "prefersBorder": True}}
LISTED = {
    "uri": JOB_VIEW,
    "name": "job_view",
    "title": "A run as a page",
    "description": "Shows a run: state, cost, report, files. For hosts of MCP Apps.",
    "mimeType": APP_MIME_TYPE,
    "_meta": _META,
}
TEMPLATE = {
    "uriTemplate": JOB_VIEW + "/{job_id}",
    "name": "job_page",
    "title": "A run's report as a page",
    "description": "The report of one run with its pictures, as a page of its own.",
    "mimeType": APP_MIME_TYPE,
}


class Apps:
    """Reads the pages; a run's page is its owner's."""

    def __init__(self, operations: Operations) -> None:
        self._ops = operations

    def register(self, server: Server[Any]) -> None:
        """Declare the extension."""
        server.extensions[EXTENSION_ID] = {"mimeTypes": [APP_MIME_TYPE]}

    async def read(self, call: Call, uri: str) -> dict[str, Any]:
        """The contents of a `ui://` resource; `not_found` for all that is not the caller's."""
        if uri == JOB_VIEW:
            return _contents(uri, page(None, None, {}))
        return _contents(uri, await self._page(call, await self._job(call, uri)))

    async def _job(self, call: Call, uri: str) -> JobView:
        try:
            job_id = UUID(uri.removeprefix(f"{JOB_VIEW}/"))
        except ValueError:
            raise AppError(
                Code.NOT_FOUND,
                "There is no such page.",
                hint=f"They are {JOB_VIEW} and {TEMPLATE['uriTemplate']}.",
                details={"uri": uri[:200].encode(errors="replace").decode()},
            ) from None
        return await self._ops.job(call.principal, job_id)

    async def _page(self, call: Call, job: JobView) -> str:
        shown = JobOut.of(job).as_json()
        if not job.is_terminal or not call.principal.scopes & {Scope.FILES, Scope.ADMIN}:
            return page(shown, None, {})
        files = await self._ops.job_files(call.principal, job.job_id)
        report = next((file for file in files if file.name == _REPORT), None)
        if report is None or report.size > _REPORT_LIMIT:
            return page(shown, None, {})
        text = (await self._bytes(report)).decode(errors="replace")
        # Only pictures that the report speaks of.
        wanted = [one for one in files if one.media_type in _IMAGES and one.name in text]
        images = {one.name: await self._inlined(one) for one in wanted if one.size <= _IMAGE_LIMIT}
        return page(shown, text, images)

    async def _inlined(self, file: StoredFile) -> str:
        data = base64.b64encode(await self._bytes(file)).decode()
        return f"data:{file.media_type};base64,{data}"

    async def _bytes(self, file: StoredFile) -> bytes:
        return b"".join([chunk async for chunk in self._ops.files.storage.open(file)])


def _contents(uri: str, text: str) -> dict[str, Any]:
    return {"uri": uri, "mimeType": APP_MIME_TYPE, "text": text, "_meta": _META}
