"""The doors over real modules; only the tool servers behind the proxy are played."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import httpx2
import pytest
from fastapi import FastAPI

from app.agents import AgentNodes
from app.auth import Auth
from app.billing import Billing
from app.kernel.clock import SystemClock
from app.kernel.db import Database
from app.kernel.errors import AppError, Code
from app.kernel.metrics import Metrics
from app.kernel.principal import Principal
from app.kernel.ratelimit import Limiter
from app.kernel.settings import Settings
from app.kernel.wakeups import Wakeups
from app.main import create_app
from app.orchestration import (
    Admission,
    Intake,
    JobLimits,
    Jobs,
    Lifecycle,
    StepCharges,
    Webhooks,
    Worker,
)
from app.orchestration.workflow.running.lane import WorkflowLane
from app.proxy import ToolCall, ToolProxy, ToolResult, Usage
from app.registry import Registry
from app.sandbox import Sandbox
from app.storage import LocalBlobs, Storage
from app.surfaces.listening import bind, listening
from app.surfaces.services import Services
from tests.surfaces.world import TEMPLATES, WEBHOOK_KEY, EchoTask, World, catalogue, person

UPLOAD_LIMIT = 4096


class PlayedProxy(ToolProxy):
    """Answers as the tool servers would; keeps the calls. Arguments are checked as ever."""

    def __init__(self, registry: Registry, settings: Settings, clock: SystemClock) -> None:
        super().__init__(registry, Limiter(clock), settings, _no_file, [], clock)
        self.calls: list[ToolCall] = []
        self.is_hanging = asyncio.Event()

    async def call(self, call: ToolCall) -> ToolResult:
        self.calls.append(call)
        usage = Usage(call.name, "0" * 64, 3, 10, 20)
        match call.name:
            case "words.break":
                raise AppError(Code.TOOL_SERVER_DOWN, "The server is down.")
            case "words.refuse":
                error = AppError(Code.GENE_NOT_FOUND, "No such gene.", hint="Look again.")
                return ToolResult(None, [], True, error, usage)
            case "words.hang":
                self.is_hanging.set()
                await asyncio.Event().wait()
        said = {"said": call.arguments["word"]}
        text = {"type": "text", "text": str(call.arguments["word"])}
        return ToolResult(said, [text], False, None, usage)


async def _no_file(_principal: Principal, file_id: UUID) -> Path:
    raise AppError(Code.NOT_FOUND, f"There is no file {file_id}.")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path / "home",
        request_limit=64 * 1024,
        upload_limit=UPLOAD_LIMIT,
        allowed_origins=["https://ui.example"],
        poll_seconds=0.05,
        backoff_seconds=0.01,
    )


@pytest.fixture
def wakeups() -> Wakeups:
    """Of this process alone."""
    return Wakeups(None)


@pytest.fixture
async def world(
    database: Database, settings: Settings, tmp_path: Path, wakeups: Wakeups
) -> AsyncIterator[World]:
    clock, metrics = SystemClock(), Metrics()
    billing, registry = Billing(), Registry()
    proxy = PlayedProxy(registry, settings, clock)
    storage = Storage(LocalBlobs(tmp_path / "files"), clock, b"k" * 32, UPLOAD_LIMIT)
    admission, task = Admission(wakeups), EchoTask(storage)
    webhooks = Webhooks(wakeups, WEBHOOK_KEY, base_url="http://localhost", allow_private=True)
    lifecycle = Lifecycle(
        billing,
        storage,
        wakeups,
        admission=admission,
        announce=webhooks.announce,
        charges=StepCharges().of,
    )
    lane = WorkflowLane(
        transactions=database,
        wakeups=wakeups,
        lifecycle=lifecycle,
        billing=billing,
        proxy=proxy,
        settings=settings,
        worker="test",
        runners={"agent": AgentNodes(TEMPLATES, storage)},
    )
    worker = Worker(
        transactions=database,
        wakeups=wakeups,
        lifecycle=lifecycle,
        billing=billing,
        proxy=proxy,
        handlers={"task": task},
        settings=settings,
        metrics=metrics,
        lanes=[lane],
    )
    jobs = Jobs(billing, lifecycle, database, wakeups, settings.poll_seconds, admission)
    services = Services(
        settings=settings,
        database=database,
        wakeups=wakeups,
        auth=Auth(clock),
        billing=billing,
        registry=registry,
        proxy=proxy,
        sandbox=Sandbox([]),
        storage=storage,
        jobs=jobs,
        intake=Intake(jobs, database),
        templates=TEMPLATES,
        worker=worker,
        metrics=metrics,
        limits=JobLimits(wakeups),
        webhooks=webhooks,
    )
    await catalogue(services)
    alice = await person(services, "alice@example.org")
    bob = await person(services, "bob@example.org")
    running = asyncio.create_task(worker.run())
    yield World(services, database, task, alice, bob, tmp_path)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


@pytest.fixture
def app(world: World) -> FastAPI:
    return create_app(world.services)


@pytest.fixture
async def http(app: FastAPI, world: World) -> AsyncIterator[httpx2.AsyncClient]:
    """A client in the same process, with alice's key."""
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://localhost", headers=dict(world.alice.headers)
    ) as client:
        yield client


@pytest.fixture
async def url(app: FastAPI, settings: Settings) -> AsyncIterator[str]:
    """The base URL of a real server on the loopback."""
    async with listening(app, settings, bind("127.0.0.1", 0)) as address:
        yield address
