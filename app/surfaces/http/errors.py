"""Makes problem documents of every error that reaches the framework."""

import logging
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from app.kernel.errors import AppError, Code
from app.surfaces.payloads import misfit
from app.surfaces.problems import code_of, problem

_METHODS = ("GET", "POST", "PUT", "DELETE")
_log = logging.getLogger(__name__)


def translated(error: HTTPException, method: str, path: str) -> AppError:
    """The `AppError` for an error of the framework itself."""
    if error.status_code == HTTPStatus.NOT_FOUND:
        return AppError(
            Code.NOT_FOUND, f"There is nothing at {path}.", hint="See /v1/openapi.json."
        )
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "").replace(", ", " or ")
        return AppError(
            Code.METHOD_NOT_ALLOWED,
            f"{method} is not possible at {path}.",
            hint=f"Use {allowed}." if allowed else None,
        )
    return AppError(code_of(error.status_code), str(error.detail))


async def _on_app_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AppError)
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.warning("request failed", extra={"code": error.code.value, "reason": error.message})
    return problem(error, request.url.path)


async def _on_misfit(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    told = misfit(error.errors())
    if not told.details["pointer"] and told.details["errors"][0]["in"] == "body":
        told.hint = _hint_of_body(request.headers.get("content-type"))
    return problem(told, request.url.path)


def _hint_of_body(given: str | None) -> str:
    """What to do about a body that was not read, which is rarely the body's own fault."""
    if given is not None and "json" not in given:
        return f"Send `Content-Type: application/json`, not {given[:60]!r}."
    return "Send a JSON object, with `Content-Type: application/json`."


async def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    path = request.url.path
    # One code has one status: a body that cannot be read is `invalid_input` like any other.
    status = None if error.status_code == HTTPStatus.BAD_REQUEST else error.status_code
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        # The framework names those of the first route at the path alone.
        error.headers = {"Allow": ", ".join(_methods(request))}
    response = problem(translated(error, request.method, path), path, status)
    for name, value in (error.headers or {}).items():
        response.headers.setdefault(name, value)
    return response


def _methods(request: Request) -> list[str]:
    """The methods that some route at the request's path takes."""
    routes = request.app.router.routes
    return [
        method
        for method in _METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes
        )
    ]


def install(app: FastAPI) -> None:
    """Make problem documents of every error that reaches the framework."""
    app.add_exception_handler(AppError, _on_app_error)
    app.add_exception_handler(RequestValidationError, _on_misfit)
    app.add_exception_handler(HTTPException, _on_http_error)
