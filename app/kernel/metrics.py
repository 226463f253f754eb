"""Prometheus metrics of one process, with labels that cannot grow without bound."""

from collections.abc import Callable, Mapping
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_MICRO = 1_000_000
_LONG = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 900, 3600)


class _Bounded:
    """Lets the first `limit` values of a label through; the rest become `other`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._seen: set[str] = set()

    def __call__(self, value: str) -> str:
        if value in self._seen:
            return value
        if len(self._seen) >= self._limit:
            return "other"
        self._seen.add(value)
        return value


def _up(registry: CollectorRegistry, name: str, text: str) -> Gauge:
    """A gauge of something that is taken to work until told otherwise."""
    made = Gauge(name, text, registry=registry)
    made.set(1)
    return made


class Metrics:
    """The metrics of one process, in a registry of their own. Labels are bounded.

    Routes are templates (`/v1/jobs/{job_id}`), never paths; tools are names the registry knows.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter = partial(Counter, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry)
        histogram = partial(Histogram, registry=self.registry)
        self._routes, self._tools = _Bounded(200), _Bounded(500)
        self._requests = counter(
            "http_requests", "HTTP requests answered", ["method", "route", "status"]
        )
        self._request_time = histogram("http_request_seconds", "Time to answer", ["route"])
        self._calls = counter("tool_calls", "Tool calls", ["tool", "outcome"])
        self._call_time = histogram("tool_call_seconds", "Time of a tool call", ["tool"])
        self._seen_requests: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._seen_calls: dict[tuple[str, str], tuple[Counter, Histogram]] = {}
        self._jobs = counter("jobs", "Jobs ended, by final status", ["status"])
        self._job_time = histogram("job_seconds", "Start to end of a job", buckets=_LONG)
        self._depth = gauge("queue_depth", "Jobs waiting to run")
        self._oldest = gauge("queue_oldest_seconds", "Age of the oldest waiting job")
        self._kinds = _Bounded(50)
        self._by_kind = gauge(
            "queue_jobs", "Jobs by kind and state, counted up to 10,000", ["kind", "state"]
        )
        self._kind_age = gauge("queue_next_seconds", "Age of the next ready job", ["kind"])
        self._kind_pause = gauge("queue_paused", "1 if nobody claims jobs of the kind", ["kind"])
        self._partitions = gauge("partitions", "Partitions of a table", ["table"])
        self._partition_bytes = gauge("partitions_bytes", "Their size with indexes", ["table"])
        self._stops = counter("runs_stopped", "Runs stopped: `lost` lease, `cancelled`", ["cause"])
        for cause in ("lost", "cancelled"):
            self._stops.labels(cause)
        self._deliveries = counter(
            "webhook_deliveries",
            "Attempts to tell endpoints, by outcome; `disabled`: endpoints given up",
            ["outcome"],
        )
        for outcome in ("delivered", "retried", "failed", "disabled"):
            self._deliveries.labels(outcome)
        self._cache = gauge("cache_hit_ratio", "Look-ups answered from memory, of all", ["cache"])
        self._captured = counter("credits_captured", "Credits captured")
        up = partial(_up, self.registry)
        self._dispatch = up("dispatch_up", "1 if jobs come by the dispatcher that was chosen")
        self._shared = up("limits_up", "1 if rate limits hold over all that should share them")
        self._bus = up("bus_up", "1 if wake-ups go between processes as was chosen")
        self._sandbox = gauge("sandbox_up", "1 if code can be isolated and run")
        self._leases = counter(
            "sandbox_leases", "Tasks that found a waiting sandbox, or none", ["room", "outcome"]
        )
        self._waiting = gauge("sandbox_waiting", "Sandboxes that wait for a task", ["room"])
        self._refill = histogram("sandbox_refill_seconds", "Time to make one that waits", ["room"])
        self._streams = gauge("mcp_streams", "WebSockets and SSE streams of MCP open now")
        self._hub = gauge("hub_up", "1 if the database answers")

    def observe_http(self, method: str, route: str, status: int, seconds: float) -> None:
        """One answered request."""
        if (known := self._seen_requests.get((method, route, status))) is None:
            name, place = method if method in _METHODS else "OTHER", self._routes(route)
            known = (
                self._requests.labels(name, place, str(status)),
                self._request_time.labels(place),
            )
            if (name, place) == (method, route):
                self._seen_requests[method, route, status] = known
        known[0].inc()
        known[1].observe(seconds)

    def observe_tool(self, tool: str, outcome: str, seconds: float) -> None:
        """One tool call; `outcome` is `ok` or an error code."""
        if (known := self._seen_calls.get((tool, outcome))) is None:
            name = self._tools(tool)
            known = self._calls.labels(name, outcome), self._call_time.labels(name)
            # Looking labels up costs more than counting; names past the bound are not kept.
            if name == tool:
                self._seen_calls[tool, outcome] = known
        known[0].inc()
        known[1].observe(seconds)

    def observe_job(self, status: str, seconds: float) -> None:
        """One job that reached its final status."""
        self._jobs.labels(status).inc()
        self._job_time.observe(seconds)

    def observe_queue(self, depth: int, oldest_seconds: float) -> None:
        """The queue as it is now."""
        self._depth.set(depth)
        self._oldest.set(oldest_seconds)

    def observe_dispatch(self, *, is_up: bool) -> None:
        """Whether the broker works; while it does not, PostgreSQL is asked."""
        self._dispatch.set(is_up)

    def observe_limits(self, *, is_up: bool) -> None:
        """Whether limits are shared as was chosen; else each process keeps to its part."""
        self._shared.set(is_up)

    def observe_bus(self, *, is_up: bool) -> None:
        """Whether wake-ups go over Redis where it was chosen; else they go over PostgreSQL."""
        self._bus.set(is_up)

    def observe_kind(
        self, kind: str, states: Mapping[str, int], oldest_s: float, *, is_paused: bool
    ) -> None:
        """The jobs of one kind as they are now, by state (`ready`, `running`)."""
        name = self._kinds(kind)
        for state, count in states.items():
            self._by_kind.labels(name, state).set(count)
        self._kind_age.labels(name).set(oldest_s)
        self._kind_pause.labels(name).set(is_paused)

    def observe_later(self, states: Mapping[str, int]) -> None:
        """Jobs of all kinds that are not ready, by why (`future`, `waiting`, `limited`)."""
        for state, count in states.items():
            self._by_kind.labels("any", state).set(count)

    def observe_partitions(self, table: str, count: int, size: int) -> None:
        """The partitions of one table: how many, and their bytes."""
        self._partitions.labels(table).set(count)
        self._partition_bytes.labels(table).set(size)

    def observe_stop(self, *, is_lost: bool) -> None:
        """A run that was stopped: another worker has its job, or its owner cancelled it."""
        self._stops.labels("lost" if is_lost else "cancelled").inc()

    def observe_delivery(self, outcome: str) -> None:
        """One attempt to tell an endpoint: `delivered`, `retried` later, `failed` for good."""
        self._deliveries.labels(outcome).inc()

    def observe_capture(self, amount_micro: int) -> None:
        """Credits captured, given in micro-credits, shown in credits."""
        self._captured.inc(amount_micro / _MICRO)

    def observe_lease(self, room: str, *, is_warm: bool) -> None:
        """A task that asked for a waiting sandbox of that kind of room, and whether one was."""
        self._leases.labels(room, "warm" if is_warm else "cold").inc()

    def observe_pool(self, room: str, waiting: int) -> None:
        """How many sandboxes of that kind wait now."""
        self._waiting.labels(room).set(waiting)

    def observe_refill(self, room: str, seconds: float) -> None:
        """A sandbox was made, which waits from now on."""
        self._refill.labels(room).observe(seconds)

    def watch_cache(self, cache: str, ratio: Callable[[], float]) -> None:
        """Show a cache's share of look-ups that memory answered, asked at each rendering."""
        self._cache.labels(cache).set_function(ratio)

    def watch_streams(self, count: Callable[[], int]) -> None:
        """Show how many WebSockets and SSE streams of MCP are open, asked at each rendering."""
        self._streams.set_function(count)

    def observe_health(self, *, is_hub_up: bool, is_sandbox_up: bool) -> None:
        """The state of what the process depends on."""
        self._hub.set(is_hub_up)
        self._sandbox.set(is_sandbox_up)

    def render(self) -> bytes:
        """The metrics in Prometheus's text format."""
        return generate_latest(self.registry)
