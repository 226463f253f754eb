"""`tools/list` and `tools/call`: own tools here, registered ones through the proxy."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from mcp.server.lowlevel import Server
from mcp_types import CallToolRequestParams, PaginatedRequestParams
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from app.kernel.principal import Principal, Scope
from app.registry import Tool
from app.surfaces.mcp.asking import Asking, capabilities_of
from app.surfaces.mcp.calls import Call, Context
from app.surfaces.mcp.listing import Form, Listing, WireForms
from app.surfaces.mcp.longtasks import LongTasks, support_of
from app.surfaces.mcp.names import Names, style_of
from app.surfaces.mcp.owntools import OwnTools
from app.surfaces.mcp.pages import page_of
from app.surfaces.mcp.results import Result, failure, guarded, guarded_tool
from app.surfaces.mcp.rights import RightfulServer
from app.surfaces.operations import Operations


class Tools:
    """The tools of a caller."""

    def __init__(
        self, operations: Operations, own: OwnTools, names: Names, long: LongTasks
    ) -> None:
        self._ops = operations
        self._own = own
        self._names = names
        self._long = long
        self._asking = Asking(operations)
        self._forms = WireForms()

    def register(self, server: Server[Any]) -> None:
        """Serve the methods; without the schemas the SDK lists all tools before every call."""
        server.get_tool_input_schema = self.input_schema
        if isinstance(server, RightfulServer):
            server.right_of = self.right
            server.first_page = self.first_page
        page, called = PaginatedRequestParams, CallToolRequestParams
        server.add_request_handler("tools/list", page, guarded(self.list))
        server.middleware.append(Listing(server, guarded(self.list)))
        server.add_request_handler("tools/call", called, guarded_tool(self.call))

    def right(self, name: str) -> Scope | None:
        """The scope that a tool needs, by its name or alias."""
        name = self._names.full(name)
        if (own := self._own.find(name)) is not None:
            return own.scope
        tool = self._ops.services.registry.snapshot().find(name)
        return None if tool is None else Scope.TOOLS

    def input_schema(self, name: str) -> Mapping[str, Any] | None:
        """A tool's input schema by its name or alias."""
        name = self._names.full(name)
        if (schema := self._own.schema(name)) is not None:
            return schema
        tool = self._ops.services.registry.snapshot().find(name)
        return None if tool is None else tool.definition.input_schema

    async def list(self, context: Context, params: PaginatedRequestParams) -> Result:
        """A page of the caller's tools, own ones first, then by name."""
        principal, style = Call.of(context).principal, style_of(context)
        found, cursor = self._page(principal, params.cursor)
        if context.protocol_version in MODERN_PROTOCOL_VERSIONS:
            tools = [form.value for form in self._forms_of(found)]
        else:
            # The SDK forms them itself.
            tools = [_shown(one) for one in found]
        if style != "dotted":
            tools = [one | {"name": self._names.shown(one["name"], style)} for one in tools]
        result: Result = {"tools": tools, "resultType": "complete"}
        return result if cursor is None else result | {"nextCursor": cursor}

    def first_page(self, principal: Principal) -> tuple[Sequence[bytes], str | None]:
        """The first page as clients of 2026-07-28 get it, each tool as JSON, and the cursor."""
        found, cursor = self._page(principal, None)
        return [form.json for form in self._forms_of(found)], cursor

    def _page(
        self, principal: Principal, cursor: str | None
    ) -> tuple[Sequence[dict[str, Any] | Tool], str | None]:
        # Own tools in the order of their families: their place is their key.
        listed: list[tuple[str, dict[str, Any] | Tool]] = [
            (f"0{place:04}", tool) for place, tool in self._own.shown(principal)
        ]
        listed += [(f"1{tool.full_name}", tool) for tool in self._ops.tools(principal)]
        return page_of("tools", listed, cursor, self._ops.services.settings.mcp_page_size)

    def _forms_of(self, found: Sequence[dict[str, Any] | Tool]) -> Sequence[Form]:
        snapshot, of = self._ops.services.registry.snapshot(), self._forms.of
        forms = [of(snapshot, _name_of(one), partial(_shown, one)) for one in found]
        return [form for form in forms if form is not None]

    async def call(self, context: Context, params: CallToolRequestParams) -> Result:
        """Answer an own tool here, or pass the call on through the proxy."""
        call, arguments = Call.of(context), params.arguments or {}
        name = self._names.full(params.name)
        if (own := self._own.find(name)) is not None:
            return await own.run(call, arguments)
        tool = self._ops.services.registry.snapshot().find(name)
        if tool is not None and self._is_long(call, tool):
            return await self._long.run(call, tool, arguments)
        if tool is not None and (upstream := self._asking.suits(context, tool)) is not None:
            return await self._asking.call(context, upstream, tool.definition.name, arguments)
        result, charged = await self._ops.calls.call(call.principal, name, arguments)
        if result.error is not None:
            return failure(result.error, charged)
        shown: Result = {
            "content": list(result.content),
            "isError": result.is_error,
            "resultType": "complete",
            "_meta": {"uaol/charged_micro": charged},
        }
        if result.structured is not None:
            shown["structuredContent"] = result.structured
        return shown

    def _is_long(self, call: Call, tool: Tool) -> bool:
        """Whether the call becomes a job, in which its server can ask nothing back.

        So a server that might ask is called at once, unless it says itself that it is slow; and a
        call that brings answers goes on as it began.
        """
        context = call.context
        if (context.params or {}).keys() & {"inputResponses", "requestState"}:
            return False
        can_answer = capabilities_of(context).keys() & {"elicitation", "sampling", "roots"}
        if can_answer and support_of(tool) == "unsaid" and self._asking.suits(context, tool):
            return False
        return self._long.takes(call, tool)


def _name_of(tool: dict[str, Any] | Tool) -> str:
    return tool.full_name if isinstance(tool, Tool) else str(tool["name"])


def _shown(tool: dict[str, Any] | Tool) -> dict[str, Any]:
    if isinstance(tool, dict):
        return tool
    definition = tool.definition
    optional = {
        "title": definition.more.get("title"),
        "outputSchema": definition.output_schema,
        "annotations": definition.annotations,
    }
    return {
        "name": tool.full_name,
        "description": tool.description,
        "inputSchema": definition.input_schema,
        "_meta": {"uaol/price_micro": tool.price_micro, **definition.declared.as_meta()},
    } | {key: value for key, value in optional.items() if value is not None}
