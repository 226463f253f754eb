"""Routes of files: upload, look, link, download."""

from typing import Annotated
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse

from app.kernel.errors import AppError, Code
from app.storage import StoredFile
from app.surfaces.http.dependencies import PREFIX, Caller, Ops, base_url
from app.surfaces.payloads import FileName, Text
from app.surfaces.views import FileOut, Link

UPLOAD_PATH = "/files"
router = APIRouter(prefix=PREFIX, tags=["files"])
_BODY = {
    "requestBody": {
        "required": True,
        "description": "The file's bytes, as they are.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


@router.post(UPLOAD_PATH, status_code=201, openapi_extra=_BODY)
async def upload(
    request: Request,
    ops: Ops,
    caller: Caller,
    name: Annotated[FileName, Query(description="The file's name.")],
    content_type: Annotated[Text, Header(max_length=200)] = "application/octet-stream",
) -> FileOut:
    """Store a file; its `file_id` can then be given wherever a schema says `format: file`."""
    if content_type.lower().startswith("multipart/"):
        raise AppError(
            Code.INVALID_INPUT,
            "A form was sent; its envelope would become a part of the file.",
            hint="Send the bytes alone: curl --data-binary @FILE -H 'Content-Type: text/plain'.",
            details={"pointer": ""},
        )
    return FileOut.of(await ops.files.upload(caller, request.stream(), name, content_type))


@router.get("/files/{file_id}")
async def show_file(ops: Ops, caller: Caller, file_id: UUID) -> FileOut:
    """A file's name, size and hash."""
    return FileOut.of(await ops.files.get(caller, file_id))


@router.post("/files/{file_id}/link")
async def make_link(request: Request, ops: Ops, caller: Caller, file_id: UUID) -> Link:
    """A download link that works without a key until it expires."""
    return ops.files.link(await ops.files.get(caller, file_id), base_url(request))


@router.get(
    "/files/{file_id}/content",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/octet-stream": {}}, "description": "The bytes."}},
)
async def download(
    ops: Ops,
    file_id: UUID,
    expires: Annotated[int, Query()],
    signature: Annotated[str, Query(max_length=200)],
) -> StreamingResponse:
    """A file's bytes, for who has a signed link."""
    file = await ops.files.by_link(file_id, expires, signature)
    return StreamingResponse(
        ops.files.storage.open(file), media_type=file.media_type, headers=_headers(file)
    )


def _headers(file: StoredFile) -> dict[str, str]:
    """Headers that make a browser save the file, whatever its bytes pretend to be."""
    plain = file.name.encode("ascii", "replace").decode().translate({34: "_", 92: "_", 63: "_"})
    return {
        "content-length": str(file.size),
        "content-disposition": (
            f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(file.name, safe='')}"
        ),
        "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox; default-src 'none'",
        "cache-control": "private, no-store",
        "etag": f'"{file.sha256}"',
    }
