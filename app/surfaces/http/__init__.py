"""The HTTP door: `/v1`, health and metrics, every error as problem JSON."""

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from app.kernel.settings import Settings
from app.surfaces.http import (
    account,
    catalog,
    connections,
    deadletters,
    errors,
    files,
    health,
    jobs,
    limits,
    middleware,
    openapi,
    queues,
    registry,
    schedules,
    secrets,
    stream,
    tickets,
    v01,
    webhooks,
    workflows,
)
from app.surfaces.http.dependencies import PREFIX
from app.surfaces.http.queries import KnownQuery
from app.surfaces.operations import Operations

_EXPOSED = [
    "Content-Disposition",
    "Location",
    "Mcp-Session-Id",
    "Retry-After",
    "WWW-Authenticate",
    "X-Request-Id",
]
# Authorization servers, aggregators and scrapers add what they like.
_LENIENT = (connections, v01, health)


def install(app: FastAPI, operations: Operations) -> None:
    """Put routes, error documents and middleware on an application."""
    settings = operations.services.settings
    app.state.operations = operations
    errors.install(app)
    openapi.install(app)
    # Routes are tried in this order, and most requests are about jobs.
    for module in (
        jobs,
        stream,
        schedules,
        deadletters,
        queues,
        limits,
        webhooks,
        secrets,
        connections,
        workflows,
        account,
        catalog,
        registry,
        v01,
        files,
        tickets,
        health,
    ):
        strict = [] if module in _LENIENT else [KnownQuery]
        app.include_router(module.router, responses=openapi.RESPONSES, dependencies=strict)
    _wrap(app, operations, settings)


def _wrap(app: FastAPI, operations: Operations, settings: Settings) -> None:
    """Add the middleware, the innermost first."""
    app.add_middleware(
        middleware.Limited,
        limit=settings.request_limit,
        upload_limit=settings.upload_limit,
        upload_path=PREFIX + files.UPLOAD_PATH,
    )
    app.add_middleware(middleware.Observed, metrics=operations.services.metrics)
    if settings.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.allowed_origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            # Tools name headers of their own (Mcp-Param-*); it is the origin that is checked.
            allow_headers=["*"],
            expose_headers=_EXPOSED,
        )
