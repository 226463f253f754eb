"""The pool: leases each waiting worker once and makes new ones behind the tasks' backs.

It never makes anybody wait: without a worker that fits, the caller starts a sandbox of its own.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Generic

from app.kernel.clock import Clock
from app.kernel.metrics import Metrics
from app.sandbox.links import Room
from app.sandbox.pool.shelf import Shelf, W, Waiting
from app.sandbox.pool.types import PoolPlan, Wanted, Worker
from app.sandbox.types import IsolationError

_log = logging.getLogger(__name__)

_TEND_S = 5.0
# Most tasks take less than to begin to make a worker does; they have the processors first.
_HOLD_BACK_S = 0.02
# Layers come and go; what is rarely asked for is not worth a look each time.
_MOST_SHELVES = 32
_UNSHARED = "own"


class Pool(Generic[W]):
    """Single-use workers by room."""

    def __init__(
        self,
        start: Callable[[Room], Awaitable[W]],
        image: Callable[[], Awaitable[str]],
        plan: PoolPlan,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        """`start` makes a worker or raises IsolationError or OSError; `image` names the present
        image, and a worker of another one is not used.
        """
        self._start, self._ask_image = start, image
        self._plan, self._clock, self._metrics = plan, clock, metrics
        self._shelves: dict[Room, Shelf[W]] = {}
        self._image: str | None = None
        self._is_open = False
        self._refills: set[asyncio.Task[None]] = set()
        self._endings: set[asyncio.Task[Any]] = set()
        self._keeper: asyncio.Task[None] | None = None

    def open(self, standing: Iterable[Wanted]) -> None:
        """Begin to fill, in the background; `standing` rooms are kept filled from now on."""
        if self._is_open or self._plan.most == 0:
            return
        self._is_open = True
        for wanted in standing:
            self._shelves[wanted.room] = Shelf(wanted, is_standing=True)
        self._keeper = asyncio.create_task(self._keep(), name="sandbox-pool")

    def lease(self, wanted: Wanted | None) -> W | None:
        """A waiting worker of that room, for good; None where there is none, or no such room."""
        worker = self._take(wanted) if self._is_open and wanted is not None else None
        name = _UNSHARED if wanted is None else wanted.name
        self._metrics.observe_lease(name, is_warm=worker is not None)
        return worker

    def waiting(self) -> dict[str, int]:
        """How many wait, by kind."""
        found: dict[str, int] = {}
        for shelf in self._shelves.values():
            found[shelf.wanted.name] = found.get(shelf.wanted.name, 0) + len(shelf.waiting)
        return found

    async def tend(self) -> None:
        """Put away what died, grew old or is too much, and see to it that there is enough."""
        await self._look_at_image()
        now = self._clock.monotonic()
        for room, shelf in list(self._shelves.items()):
            for worker in shelf.spoilt(now, self._image, self._plan):
                self._end(worker)
            if shelf.count == 0 and not shelf.is_wanted(now, self._plan):
                del self._shelves[room]
        self._refill()

    async def settle(self) -> None:
        """Tend, and wait until nothing is being made or put away."""
        await self.tend()
        await self._quiet()

    async def close(self) -> None:
        """Kill all that wait; what is being made is waited for, as a cut start leaves orphans."""
        self._is_open = False
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
        for shelf in self._shelves.values():
            while shelf.waiting:
                self._end(shelf.waiting.popleft().worker)
        await self._quiet()
        self._show()
        self._shelves.clear()

    async def _quiet(self) -> None:
        while self._refills or self._endings:
            await asyncio.wait(self._refills | self._endings)

    def _take(self, wanted: Wanted) -> W | None:
        shelf = self._shelf(wanted)
        if shelf is None:
            return None
        shelf.demand.arrived(self._clock.monotonic())
        found = None
        while shelf.waiting and found is None:
            one = shelf.waiting.popleft()
            if one.worker.is_alive and one.image == self._image:
                found = one.worker
            else:
                self._end(one.worker)
        asyncio.get_running_loop().call_later(_HOLD_BACK_S, self._refill)
        return found

    def _shelf(self, wanted: Wanted) -> Shelf[W] | None:
        shelf = self._shelves.get(wanted.room)
        if shelf is None and len(self._shelves) < _MOST_SHELVES:
            shelf = self._shelves[wanted.room] = Shelf(wanted, is_standing=False)
        return shelf

    async def _keep(self) -> None:
        while True:
            await self.tend()
            await asyncio.sleep(_TEND_S)

    async def _look_at_image(self) -> None:
        try:
            self._image = await self._ask_image()
        except (IsolationError, OSError) as error:
            _log.warning("the sandbox's image is unknown", extra={"reason": str(error)})

    def _refill(self) -> None:
        is_ready = self._is_open and self._image is not None
        while is_ready and (shelf := self._neediest()) is not None:
            shelf.starting += 1
            self._spawn(self._refills, self._make(shelf)).add_done_callback(self._refilled)
        self._show()

    def _refilled(self, _task: asyncio.Task[None]) -> None:
        self._refill()

    def _neediest(self) -> Shelf[W] | None:
        """The shelf that is emptiest for its size, of those that are short and may grow."""
        now, short = self._clock.monotonic(), list[tuple[float, Shelf[W]]]()
        for shelf in self._shelves.values():
            target = shelf.target(now, self._plan)
            if shelf.count < target and now >= shelf.retry_at and self._is_free(shelf):
                short.append((shelf.count / target, shelf))
        return min(short, key=lambda one: one[0])[1] if short else None

    def _is_free(self, shelf: Shelf[W]) -> bool:
        """Whether one more may be made now. What takes seconds to import holds up nothing quick."""
        shelves, plan = self._shelves.values(), self._plan
        used = sum(one.bytes for one in shelves) + shelf.wanted.idle_bytes
        # What somebody asked for lately takes nothing away from the rooms everybody shares.
        kept = 0 if shelf.is_standing else sum(one.bytes_due(plan) for one in shelves)
        making = sum(one.starting for one in shelves if one.is_slow == shelf.is_slow)
        return making < plan.refills and used + kept <= plan.memory_bytes

    async def _make(self, shelf: Shelf[W]) -> None:
        image, began = self._image, self._clock.monotonic()
        try:
            worker = await self._start(shelf.wanted.room)
        except Exception as error:  # noqa: BLE001 - of any kind; the tasks go cold meanwhile
            shelf.failed(self._clock.monotonic())
            _log.warning("no sandbox could be kept waiting", extra={"reason": repr(error)[:300]})
            return
        finally:
            shelf.starting -= 1
        now = self._clock.monotonic()
        if self._is_open and image == self._image:
            shelf.stock(Waiting(worker, now, image), now - began)
            self._metrics.observe_refill(shelf.wanted.name, now - began)
        else:
            self._end(worker)

    def _end(self, worker: W) -> None:
        self._spawn(self._endings, _killed(worker))

    def _spawn(
        self, group: set[asyncio.Task[Any]], work: Coroutine[Any, Any, Any]
    ) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        group.add(task)
        task.add_done_callback(group.discard)
        return task

    def _show(self) -> None:
        for name, count in self.waiting().items():
            self._metrics.observe_pool(name, count)


async def _killed(worker: Worker) -> None:
    try:
        await worker.kill()
    except Exception:  # noqa: BLE001 - nobody waits for it
        _log.exception("a waiting sandbox could not be ended")
