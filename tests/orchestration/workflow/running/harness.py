"""What tests of runs share: tools with an answer each, and workers with a lane over them."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from app.kernel.errors import AppError
from app.kernel.metrics import Metrics
from app.kernel.principal import SERVICE
from app.kernel.uow import Transactions
from app.orchestration import JobEvent, JobView, NodeRunner, Worker, WorkflowLane, workflow_job
from app.orchestration.dispatch import Dispatcher
from app.proxy import ToolCall, ToolResult, Usage
from tests.orchestration.conftest import Bench

Answer = Mapping[str, Any] | Exception | Callable[[Mapping[str, Any]], Any]


@dataclass
class Tools:
    """A proxy with an answer per tool; a tool named in `gates` waits for its event."""

    answers: dict[str, Answer] = field(default_factory=dict)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    reached: dict[str, asyncio.Event] = field(default_factory=dict)
    calls: list[ToolCall] = field(default_factory=list)
    flying: int = 0
    most: int = 0

    def hold(self, name: str) -> asyncio.Event:
        """Stop calls of a tool; gives the event of the first one that came."""
        self.gates[name], self.reached[name] = asyncio.Event(), asyncio.Event()
        return self.reached[name]

    def go(self, name: str) -> None:
        self.gates.pop(name).set()

    def counts(self) -> dict[str, int]:
        return dict(Counter(call.name for call in self.calls))

    def keys(self, name: str) -> list[str]:
        return [str(call.idempotency_key) for call in self.calls if call.name == name]

    async def call(self, call: ToolCall) -> ToolResult:
        self.calls.append(call)
        self.flying += 1
        self.most = max(self.most, self.flying)
        try:
            if (gate := self.gates.get(call.name)) is not None:
                self.reached[call.name].set()
                await gate.wait()
            await asyncio.sleep(0)
            return self._answer(call)
        finally:
            self.flying -= 1

    def _answer(self, call: ToolCall) -> ToolResult:
        answer = self.answers.get(call.name, {"from": call.name})
        if callable(answer):
            answer = answer(call.arguments)
        usage = Usage(call.name, "0" * 64, 1, 2, 3)
        if isinstance(answer, AppError):
            return ToolResult(None, [], True, answer, usage)
        if isinstance(answer, Exception):
            raise answer
        return ToolResult(dict(answer), [], False, None, usage)


def lane_of(
    bench: Bench,
    tools: Tools,
    *,
    parallel: int = 8,
    runners: Mapping[str, NodeRunner] | None = None,
    transactions: Transactions | None = None,
    dispatcher: Dispatcher | None = None,
    **changes: Any,
) -> WorkflowLane:
    return WorkflowLane(
        transactions=transactions or bench.database,
        wakeups=bench.wakeups,
        lifecycle=bench.lifecycle,
        billing=bench.billing,
        proxy=tools,  # type: ignore[arg-type]
        settings=bench.settings.model_copy(update=changes),
        runners=runners,
        parallel=parallel,
        dispatcher=dispatcher,
    )


def worker_of(bench: Bench, tools: Tools, **changes: Any) -> Worker:
    mine = {"parallel", "runners", "transactions", "dispatcher"}
    settings = {name: value for name, value in changes.items() if name not in mine}
    return Worker(
        transactions=bench.database,
        wakeups=bench.wakeups,
        lifecycle=bench.lifecycle,
        billing=bench.billing,
        proxy=tools,  # type: ignore[arg-type]
        handlers={},
        settings=bench.settings.model_copy(update=settings),
        metrics=Metrics(),
        lanes=[lane_of(bench, tools, **changes)],
        dispatcher=changes.get("dispatcher"),
    )


@contextlib.asynccontextmanager
async def working(bench: Bench, tools: Tools, **changes: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(worker_of(bench, tools, **changes).run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def submit(bench: Bench, nodes: dict[str, Any], given: Any = None, **more: Any) -> JobView:
    raw = {"workflow": 1, "nodes": nodes, **more}
    body = workflow_job(raw, given, tool=str, template=str)
    return await bench.submit(kind="workflow", definition=body)


async def run(
    bench: Bench, tools: Tools, nodes: dict[str, Any], given: Any = None, **more: Any
) -> JobView:
    job = await submit(bench, nodes, given, **more)
    async with working(bench, tools):
        return await bench.until_ended(job.job_id)


async def stored(bench: Bench, job_id: UUID) -> dict[str, tuple[str, Any]]:
    """The steps as their owner reads them."""
    async with bench.database.begin(bench.user) as uow:
        rows = await uow.execute(
            "select path, status, output from app.job_steps where job_id = :job", {"job": job_id}
        )
        return {row.path: (row.status, row.output) for row in rows}


async def lines(bench: Bench, job_id: UUID) -> list[JobEvent]:
    async with bench.database.begin(bench.user) as uow:
        return list(await bench.jobs.events(uow, job_id, limit=1000))


async def told(bench: Bench, job_id: UUID) -> Counter[tuple[str, str]]:
    """How often each event of each step was told."""
    found = [line for line in await lines(bench, job_id) if line.kind.startswith("step.")]
    return Counter((line.kind, line.data["path"]) for line in found)


async def until_flying(bench: Bench, tools: Tools, job: JobView, count: int) -> None:
    """Wait until so many calls are held and told of; no more than those have started."""

    async def is_told() -> bool:
        found = await told(bench, job.job_id)
        return sum(kind == "step.started" for kind, _ in found) == count

    await until(is_told)
    assert tools.flying == count


async def metered(bench: Bench, job_id: UUID) -> list[str]:
    async with bench.database.begin(bench.user) as uow:
        rows = await uow.execute(
            "select key from app.usage_event where job_id = :job order by key", {"job": job_id}
        )
        return [row.key for row in rows]


def tool(name: str, after: list[str] | None = None, **more: Any) -> dict[str, Any]:
    return {"tool": f"t.{name}", "after": after or [], **more}


async def until(condition: Callable[[], Any]) -> None:
    """Wait until a condition holds; it may be a coroutine function."""
    async with asyncio.timeout(30):
        while True:
            found = condition()
            if await found if asyncio.iscoroutine(found) else found:
                return
            await asyncio.sleep(0.01)


async def queue_row(bench: Bench, job_id: UUID) -> Mapping[str, Any]:
    """The job's row of the queue."""
    async with bench.database.begin(SERVICE) as uow:
        rows = await uow.execute(
            "select parked_as, lease_until, worker, place, attempt from app.job_queue"
            " where job_id = :job",
            {"job": job_id},
        )
        return dict(rows.mappings().one())


DIAMOND = {
    "top": tool("top", arguments={"n": "${{ input.n }}"}),
    "left": tool("left", ["top"]),
    "right": tool("right", ["top"]),
    "join": tool(
        "join",
        arguments={"l": "${{ steps.left.output.from }}", "r": "${{ steps.right.output.from }}"},
    ),
}
