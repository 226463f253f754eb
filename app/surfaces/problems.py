"""RFC 9457 problem JSON: the one shape of every error over HTTP."""

import logging
from typing import Any

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from app.kernel.errors import CODES, AppError, Code
from app.kernel.ids import new_id

MEDIA_TYPE = "application/problem+json"
_log = logging.getLogger(__name__)
_CODES_BY_STATUS = {
    401: Code.UNAUTHENTICATED,
    403: Code.FORBIDDEN,
    404: Code.NOT_FOUND,
    405: Code.METHOD_NOT_ALLOWED,
    413: Code.PAYLOAD_TOO_LARGE,
    421: Code.FORBIDDEN,
    429: Code.RATE_LIMITED,
    503: Code.HUB_UNAVAILABLE,
}


class Problem(BaseModel):
    """An error: `code` is stable and is what programs should look at."""

    type: str = Field(examples=["urn:uaol:error:not_found"])
    title: str = Field(description="What the code means.")
    status: int
    detail: str = Field(description="What happened, for people.")
    code: str = Field(examples=["not_found"])
    hint: str | None = Field(None, description="What to do next.")
    details: dict[str, Any] | None = None
    instance: str = Field(description="The path of the request.")


def code_of(status: int) -> Code:
    """The code for an HTTP status that a library answered with."""
    return _CODES_BY_STATUS.get(status, Code.INVALID_INPUT)


def body_of(error: AppError, path: str, status: int | None = None) -> dict[str, Any]:
    """The problem document of an error."""
    body = {
        "type": f"urn:uaol:error:{error.code.value}",
        "title": CODES[error.code].meaning,
        "status": status or error.status,
        "detail": error.message,
        "code": error.code.value,
        "hint": error.hint,
        "details": error.details or None,
        "instance": path,
    }
    return {key: value for key, value in body.items() if value is not None}


def problem(error: AppError, path: str, status: int | None = None) -> JSONResponse:
    """The response of an error, with the headers its code asks for."""
    response = JSONResponse(
        body_of(error, path, status), status or error.status, media_type=MEDIA_TYPE
    )
    if error.code is Code.UNAUTHENTICATED:
        response.headers["www-authenticate"] = 'Bearer realm="uaol", error="invalid_token"'
    if (wait := error.details.get("retry_after_s")) is not None:
        response.headers["retry-after"] = str(max(1, round(float(wait))))
    return response


def unexpected(error: BaseException, where: str) -> AppError:
    """What a caller is told of a fault of the server; its cause is in the log, by event id."""
    event_id = str(new_id())
    _log.error("unhandled error", extra={"event_id": event_id, "where": where}, exc_info=error)
    return AppError(
        Code.INTERNAL,
        "The server made a mistake; nothing is charged for it.",
        hint="Try again; if it stays, report the event id.",
        details={"event_id": event_id},
    )
