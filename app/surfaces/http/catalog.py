"""Routes of what can be run and what it costs: templates, quotes, tools."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import Field

from app.surfaces.charging import BillingMode, Charging, MaxCredits
from app.surfaces.finding import FoundTools
from app.surfaces.http.dependencies import PREFIX, Caller, Idempotency, Ops
from app.surfaces.payloads import Payload, Text
from app.surfaces.views import QuoteOut, TemplateOut, ToolAnswer, ToolOut, View

router = APIRouter(prefix=PREFIX, tags=["catalog"])
Name = Annotated[Text, Path(max_length=200)]


class QuoteIn(Payload):
    """What to price, by its full name."""

    kind: Literal["template", "tool"]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    billing: BillingMode = "outcome"
    max_credits: MaxCredits = None


class CallIn(Payload):
    """A tool's arguments, as its input schema wants them."""

    arguments: dict[str, Any] = Field(default_factory=dict)


class TemplatesOut(View):
    """All task templates."""

    templates: list[TemplateOut]


class ToolsOut(View):
    """The tools the caller may call."""

    tools: list[ToolOut]


@router.get("/templates")
async def list_templates(ops: Ops, caller: Caller) -> TemplatesOut:
    """The tasks that can be run."""
    return TemplatesOut(templates=[TemplateOut.of(t) for t in ops.services.templates.all()])


@router.get("/templates/{name}")
async def show_template(ops: Ops, caller: Caller, name: Name) -> TemplateOut:
    """One task, with the JSON Schema of its input."""
    return TemplateOut.of(ops.services.templates.get(name))


@router.post("/quotes")
async def quote(ops: Ops, caller: Caller, body: QuoteIn) -> QuoteOut:
    """The price of one success, or the estimate of a run in usage mode."""
    charging = Charging.of(body.billing, body.max_credits)
    return QuoteOut.of(await ops.quote(caller, body.kind, body.name, charging))


@router.get("/tools")
async def list_tools(ops: Ops, caller: Caller) -> ToolsOut:
    """The tools, by name."""
    return ToolsOut(tools=[ToolOut.of(tool) for tool in ops.tools(caller)])


@router.get("/tools/search")
async def find_tools(
    ops: Ops,
    caller: Caller,
    q: Annotated[Text, Query(min_length=1, max_length=500, description="What it should do.")],
    limit: Annotated[int, Query(ge=1, le=50)] = 10,
) -> FoundTools:
    """The tools that best do what is asked for, by full text and by meaning."""
    return await ops.finding.find(caller, q, limit)


@router.post("/tools/{name}/call")
async def call_tool(
    ops: Ops, caller: Caller, name: Name, body: CallIn, key: Idempotency = None
) -> ToolAnswer:
    """Call a tool. An error that the tool reports is an answer here, and costs nothing."""
    result, charged = await ops.calls.call(caller, name, body.arguments, key)
    return ToolAnswer(
        structured=result.structured,
        content=list(result.content),
        is_error=result.is_error,
        error=None if result.error is None else result.error.as_dict(),
        charged_micro=charged,
    )
