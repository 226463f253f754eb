"""The application: both doors on one ASGI app. The caller starts and stops the services."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from app import __version__
from app.surfaces import http
from app.surfaces.mcp import Gateway
from app.surfaces.mcp.fastpath import Application
from app.surfaces.mcp.fastpath import install as install_fast_path
from app.surfaces.operations import Operations
from app.surfaces.services import Services


def create_app(services: Services) -> FastAPI:
    """The ASGI application over running services: HTTP at `/v1`, MCP at `/mcp`."""
    operations = Operations(services)
    gateway = Gateway(operations)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with gateway.run():
            yield
        await operations.calls.drain()

    app = Application(
        title="UAOL",
        summary="Tools, workflows and multi-agent tasks, priced, metered and checked.",
        version=__version__,
        openapi_url="/v1/openapi.json",
        # Both pages load scripts from elsewhere; a machine without a network has none.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    http.install(app, operations)
    app.state.gateway = gateway
    install_fast_path(app, operations, gateway.server)
    app.router.routes.extend(gateway.routes)
    return app
