"""Routes for operators: is it alive, is it ready, what are its figures."""

import asyncio
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST

from app.kernel.errors import AppError, Code
from app.kernel.principal import SERVICE
from app.surfaces.http.dependencies import Ops
from app.surfaces.operations import Operations
from app.surfaces.views import View

_PATIENCE_S = 3.0
router = APIRouter(tags=["operation"])


class Health(View):
    """The state of the process and of what it stands on."""

    status: str
    hub: dict[str, Any]
    sandbox: dict[str, Any]
    servers: list[dict[str, Any]]
    worker: dict[str, Any]
    dispatch: dict[str, Any]
    limits: dict[str, Any]


@router.get("/healthz")
async def health(ops: Ops) -> Health:
    """200 while the process lives; the rest is a summary."""
    hub = await _hub(ops)
    sandbox = ops.services.sandbox.status()
    ops.services.metrics.observe_health(
        is_hub_up=bool(hub["is_up"]), is_sandbox_up=sandbox.available
    )
    servers = [
        {"name": s.name, "is_up": s.is_up, "tools": s.tools, "restarts": s.restarts}
        for s in ops.services.proxy.health()
        # A registered server is its developer's; that it is away makes the platform no worse.
        if ops.services.registry.snapshot().server(s.name) is None
    ]
    is_whole = hub["is_up"] and sandbox.available and all(s["is_up"] for s in servers)
    return Health(
        status="ok" if is_whole else "degraded",
        hub=hub,
        sandbox={
            "is_up": sandbox.available,
            "executor": sandbox.executor,
            "level": sandbox.level or None,
        },
        servers=servers,
        worker={"is_here": ops.services.worker is not None, "is_ready": _is_worker_ready(ops)},
        dispatch=_dispatch(ops),
        limits=_limits(ops),
    )


@router.get("/readyz")
async def ready(ops: Ops) -> Health:
    """200 once requests can be served; 503 until the hub answers and the worker works."""
    state = await health(ops)
    if state.hub["is_up"] and _is_worker_ready(ops):
        return state
    raise AppError(
        Code.NOT_READY,
        "The server is not ready yet.",
        hint="Wait, or look at /healthz.",
        details={"hub": state.hub, "worker": state.worker},
    )


@router.get("/metrics", response_class=Response)
async def metrics(ops: Ops) -> Response:
    """Prometheus metrics."""
    return Response(ops.services.metrics.render(), media_type=CONTENT_TYPE_LATEST)


def _is_worker_ready(ops: Operations) -> bool:
    worker = ops.services.worker
    return worker is None or worker.is_ready


def _dispatch(ops: Operations) -> dict[str, Any]:
    """How jobs reach the worker of this process; a broker that is away costs no readiness."""
    if (worker := ops.services.worker) is None:
        return {}
    state = worker.dispatch()
    return {"by": state.name, "is_up": state.is_up, "reason": state.reason}


def _limits(ops: Operations) -> dict[str, Any]:
    """Whether rate limits hold over all processes that should share them."""
    state = ops.services.proxy.limiter.state()
    return {"by": state.name, "is_up": state.is_up, "reason": state.reason}


async def _hub(ops: Operations) -> dict[str, Any]:
    try:
        async with asyncio.timeout(_PATIENCE_S), ops.access.read(SERVICE):
            return {"is_up": True}
    except (AppError, TimeoutError, OSError) as error:
        code = error.code if isinstance(error, AppError) else Code.HUB_UNAVAILABLE
        return {"is_up": False, "code": code.value}
