"""The fast way to a tool on a remote server: the same duties, with arguments and answers as bytes.

Nothing is decoded that is not checked, and nothing checked twice: the arguments once for their
schema, an answer only where it is an error, or has an output schema.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import orjson
from mcp.shared.inbound import find_invalid_x_mcp_header, mcp_param_headers, x_mcp_header_map

from app.kernel.clock import Clock
from app.kernel.errors import AppError
from app.kernel.metrics import Metrics
from app.kernel.principal import Principal
from app.proxy.caching import Kept, ResultCache
from app.proxy.carrying import carry
from app.proxy.fast.reading import Reading, read_error, read_result
from app.proxy.fast.types import FastResult, Plan, Route, Seams
from app.proxy.schemas import Schemas
from app.proxy.wire import Answer
from app.registry import Snapshot, Tool, task_support

_METHOD = "tools/call"


class FastCalls:
    """One instance a process, beside the `ToolProxy` whose limits and schemas it shares."""

    def __init__(
        self,
        seams: Seams,
        schemas: Schemas,
        cache: ResultCache,
        clock: Clock,
        metrics: Metrics,
        output_limit: int,
    ) -> None:
        self._seams = seams
        self._schemas = schemas
        self._cache = cache
        self._clock = clock
        self._metrics = metrics
        self._output_limit = output_limit
        self._snapshot: Snapshot | None = None
        self._plans: dict[str, Plan] = {}

    def route(self, name: str) -> Route | None:
        """The way to the tool of that full name; None for all that is not plain and remote.

        Only an approved tool has one: what is unknown, switched off or changed is for the proxy to
        refuse. So has none that takes files, whose paths must be made first.
        """
        snapshot = self._seams.snapshot()
        if snapshot is not self._snapshot:
            self._snapshot, self._plans = snapshot, {}
        plan = self._plans.get(name)
        if plan is None:
            tool = snapshot.find(name)
            plan = None if tool is None or tool.full_name != name else _plan(tool)
            if plan is None:
                # Not kept: callers could fill the memory with names.
                return None
            self._plans[name] = plan
        else:
            snapshot.recalled()
        upstream = self._seams.upstream_of(plan.tool.server)
        return None if upstream is None or upstream.target is None else Route(plan, upstream)

    async def admit(self, principal: Principal, route: Route, arguments: Mapping[str, Any]) -> None:
        """Spend the limits and check the arguments.

        Raises `rate_limited`, `invalid_input`, `unknown_field`.
        """
        await self._seams.limit(principal, route.tool)
        self._schemas.check_arguments(route.tool.definition, arguments)

    async def carry(
        self, principal: Principal, route: Route, arguments: Mapping[str, Any]
    ) -> FastResult:
        """Send the call, once, and check its answer.

        The arguments are written anew: one given twice would mean to the server what nobody here
        has checked, and be kept as the answer to something else. A tool's own refusal is a result
        with an `error`. Raises as `ToolProxy.call` does.
        """
        owners = route.upstream.credentials
        key = await self._cache.key_of(owners, principal, route.tool, arguments)
        if (kept := self._cache.get(key)) is not None:
            return FastResult(kept.content, kept.structured, None, 0, kept.size)
        began = self._clock.monotonic()
        found = await self._carried(principal, route, arguments)
        if found.error is None:
            self._cache.put(key, route.tool, Kept(found.content, found.structured))
        wall_ms = round((self._clock.monotonic() - began) * 1000)
        size = len(found.content) + len(found.structured or b"")
        return FastResult(found.content, found.structured, found.error, wall_ms, size)

    def observe(self, route: Route, outcome: str, seconds: float) -> None:
        """Count one call; `outcome` is `ok` or an error code."""
        self._metrics.observe_tool(route.tool.full_name, outcome, seconds)

    async def _carried(
        self, principal: Principal, route: Route, arguments: Mapping[str, Any]
    ) -> Reading:
        breakers, tool = self._seams.breakers, route.tool
        breakers.admit(tool.server)
        try:
            await route.upstream.check(tool, tool.timeout_s)
            answer = await _sent(principal, route, arguments)
            if answer.body is None:
                found = read_error(answer.error or b"", tool.definition)
            else:
                found = read_result(answer.body, tool.definition, self._schemas, self._output_limit)
        except AppError as error:
            breakers.record(tool.server, error)
            raise
        except BaseException:
            # Who called went away: that says nothing about the server.
            breakers.dismiss(tool.server)
            raise
        breakers.record(tool.server, None)
        return found


def _plan(tool: Tool) -> Plan | None:
    definition = tool.definition
    needs_task = task_support(definition) == "required"
    if tool.status != "Approved" or definition.takes_files or needs_task:
        return None
    schema = definition.input_schema
    is_odd = find_invalid_x_mcp_header(schema) is not None
    opening = b'{"name":%b,' % msgspec.json.encode(definition.name)
    return Plan(tool, opening, {} if is_odd else x_mcp_header_map(schema))


async def _sent(principal: Principal, route: Route, arguments: Mapping[str, Any]) -> Answer:
    plan, upstream = route
    assert upstream.target is not None
    return await carry(
        upstream.wire,
        upstream.target,
        upstream.credentials,
        principal,
        _METHOD,
        b'%b"arguments":%b}' % (plan.opening, orjson.dumps(arguments)),
        name=plan.tool.definition.name,
        timeout_s=plan.tool.timeout_s,
        headers=mcp_param_headers(plan.headers, arguments) if plan.headers else {},
    )
