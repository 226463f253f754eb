"""The MCP server: own tools, registry tools and resources, on the SDK's lowlevel server."""

from collections.abc import Mapping
from typing import Any

import mcp_types as types
from mcp.server.caching import CacheHint
from mcp.server.lowlevel import Server

from app import __version__
from app.registry import Tool
from app.surfaces.mcp.billing import BillingTools
from app.surfaces.mcp.calls import Call, Context
from app.surfaces.mcp.jobs import JobTools
from app.surfaces.mcp.limits import LimitTools
from app.surfaces.mcp.owntools import OwnTools
from app.surfaces.mcp.queues import QueueTools
from app.surfaces.mcp.resources import TEMPLATES, Resources
from app.surfaces.mcp.results import Result, failure, guarded, guarded_tool
from app.surfaces.mcp.schedules import ScheduleTools
from app.surfaces.mcp.tasks import TaskTools
from app.surfaces.mcp.webhooks import WebhookTools
from app.surfaces.mcp.workflows import WorkflowTools
from app.surfaces.operations import Operations

_INSTRUCTIONS = (
    "Priced, checked tasks and tools. Start with bio_agent.list_templates; ask billing.get_quote"
    " what a task costs; run it with bio_agent.run_task and follow it with bio_agent.stream_trace."
    " Files of a run are resources below uaol://jobs/."
)
_LISTED = CacheHint(ttl_ms=5_000, scope="private")
_VOLATILE = CacheHint(ttl_ms=0, scope="private")


class Handlers:
    """What the server answers, method by method."""

    def __init__(self, operations: Operations) -> None:
        self._ops = operations
        families = (
            TaskTools(operations),
            JobTools(operations),
            LimitTools(operations),
            ScheduleTools(operations),
            QueueTools(operations),
            WebhookTools(operations),
            WorkflowTools(operations),
            BillingTools(operations),
        )
        self._own = OwnTools([tool for family in families for tool in family.tools()])
        self._resources = Resources(operations)

    def input_schema(self, name: str) -> Mapping[str, Any] | None:
        """A tool's input schema; without this the SDK lists all tools before every call."""
        if (schema := self._own.schema(name)) is not None:
            return schema
        tool = self._ops.services.registry.snapshot().find(name)
        return None if tool is None else tool.definition.input_schema

    async def list_tools(self, context: Context, _params: Any) -> Result:
        """The tools of this caller, own ones first, then by name."""
        principal = Call.of(context).principal
        registered = [_shown(tool) for tool in self._ops.tools(principal)]
        return {"tools": [*self._own.shown(principal), *registered], "resultType": "complete"}

    async def call_tool(self, context: Context, params: types.CallToolRequestParams) -> Result:
        """Answer an own tool here, or pass the call on through the proxy."""
        call, arguments = Call.of(context), params.arguments or {}
        if (own := self._own.find(params.name)) is not None:
            return await own.run(call, arguments)
        result, charged = await self._ops.calls.call(call.principal, params.name, arguments)
        if result.error is not None:
            return failure(result.error)
        shown: Result = {
            "content": list(result.content),
            "isError": result.is_error,
            "resultType": "complete",
            "_meta": {"uaol/charged_micro": charged},
        }
        if result.structured is not None:
            shown["structuredContent"] = result.structured
        return shown

    async def list_resources(
        self, context: Context, params: types.PaginatedRequestParams
    ) -> Result:
        """A page of the caller's resources."""
        shown, cursor = await self._resources.page(Call.of(context), params.cursor)
        result: Result = {"resources": shown, "resultType": "complete"}
        return result if cursor is None else result | {"nextCursor": cursor}

    async def list_templates(self, _context: Context, _params: Any) -> Result:
        """How the resources' URIs are made."""
        return {"resourceTemplates": TEMPLATES, "resultType": "complete"}

    async def read_resource(
        self, context: Context, params: types.ReadResourceRequestParams
    ) -> Result:
        """One resource."""
        contents = await self._resources.read(Call.of(context), str(params.uri))
        return {"contents": [contents], "resultType": "complete"}


def _shown(tool: Tool) -> dict[str, Any]:
    definition = tool.definition
    optional = {"outputSchema": definition.output_schema, "annotations": definition.annotations}
    return {
        "name": tool.full_name,
        "description": definition.description,
        "inputSchema": definition.input_schema,
        "_meta": {"uaol/price_micro": tool.price_micro},
    } | {key: value for key, value in optional.items() if value is not None}


def make_server(operations: Operations) -> Server[Any]:
    """The server, without a transport."""
    handlers = Handlers(operations)
    server: Server[Any] = Server(
        "uaol",
        title="UAOL",
        version=__version__,
        instructions=_INSTRUCTIONS,
        get_tool_input_schema=handlers.input_schema,
        cache_hints={
            "tools/list": _LISTED,
            "resources/list": _VOLATILE,
            "resources/read": _VOLATILE,
            "resources/templates/list": _LISTED,
        },
    )
    # Registered by method: these handlers return the wire form itself, which the SDK checks
    # against the caller's protocol version.
    page, read = types.PaginatedRequestParams, types.ReadResourceRequestParams
    server.add_request_handler("tools/list", page, guarded(handlers.list_tools))
    server.add_request_handler(
        "tools/call", types.CallToolRequestParams, guarded_tool(handlers.call_tool)
    )
    server.add_request_handler("resources/list", page, guarded(handlers.list_resources))
    server.add_request_handler("resources/templates/list", page, guarded(handlers.list_templates))
    server.add_request_handler("resources/read", read, guarded(handlers.read_resource))
    return server
