"""The tools: by name, what they take and what they do."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import mcp_types as types
from mcp.server.subscriptions import PromptsListChanged, ToolsListChanged
from mcp.shared.exceptions import MCPError

from tests.conformance.everything import forms, slow
from tests.conformance.everything.asking import (
    Context,
    ask,
    elicitation,
    form,
    is_modern,
    needed,
    sampling,
)
from tests.conformance.everything.blocks import (
    Wire,
    audio,
    complete,
    embedded,
    image,
    said,
    text,
)
from tests.conformance.everything.rounds import ROUNDS

_PAUSE_S = 0.01
_TASKS = "io.modelcontextprotocol/tasks"


def takes(**properties: Wire) -> Wire:
    """A schema of an object; every property is required."""
    return {"type": "object", "properties": properties, "required": list(properties)}


@dataclass(frozen=True)
class Fixture:
    """A tool. `execution` says whether its calls are slow."""

    description: str
    run: Callable[[Context, Wire], Awaitable[Wire]]
    schema: Wire
    execution: str | None = None

    def listed(self, name: str) -> Wire:
        shown = {"name": name, "description": self.description, "inputSchema": self.schema}
        if self.execution is None:
            return shown
        support = {"taskSupport": self.execution}
        # The revision of 2026-07-28 has no `execution`; the extension's own key remains.
        return shown | {"execution": support, "_meta": {_TASKS: support}}


def _always(result: Wire) -> Callable[[Context, Wire], Awaitable[Wire]]:
    async def run(_context: Context, _arguments: Wire) -> Wire:
        return result

    return run


async def _log(context: Context, message: str) -> None:
    """A log message on the call's stream; since 2026-07-28 only if the call asks for them."""
    if is_modern(context) and types.LOG_LEVEL_META_KEY not in (context.meta or {}):
        return
    params = types.LoggingMessageNotificationParams(level="info", data=message)
    await context.session.send_notification(
        types.LoggingMessageNotification(params=params), related_request_id=context.request_id
    )


async def log(context: Context, _arguments: Wire) -> Wire:
    for message in ("started", "is at work", "has ended"):
        await _log(context, f"The tool {message}")
        await asyncio.sleep(_PAUSE_S)
    return said("Three messages were logged.")


async def progress(context: Context, _arguments: Wire) -> Wire:
    for done in (0, 50, 100):
        await context.session.report_progress(done, 100, f"{done} of 100")
        await asyncio.sleep(_PAUSE_S)
    return said("Progress was told three times.")


async def reconnect(context: Context, _arguments: Wire) -> Wire:
    """Closes its stream; the client comes back for the result (since 2025-11-25)."""
    if context.close_sse_stream is not None:
        await context.close_sse_stream()
        await asyncio.sleep(_PAUSE_S)
    return said("You came back for this.")


async def sample(context: Context, arguments: Wire) -> Wire:
    requests = {"model": sampling(arguments["prompt"])}
    answers = await ask(context, requests)
    if answers is None:
        return needed(requests)
    return said("LLM response:", str(answers["model"]["content"]["text"]))


async def elicit(context: Context, arguments: Wire) -> Wire:
    answer = {"type": "string", "description": "Your answer"}
    return await _elicited(context, form(arguments["message"], response=answer))


async def _elicited(context: Context, request: Wire) -> Wire:
    answers = await ask(context, {"form": request})
    if answers is None:
        return needed({"form": request})
    answer = answers["form"]
    return said(f"action={answer['action']}, content={answer.get('content')}")


def _asking(schema: Wire) -> Callable[[Context, Wire], Awaitable[Wire]]:
    async def run(context: Context, _arguments: Wire) -> Wire:
        return await _elicited(context, elicitation("Please fill in the form.", schema))

    return run


async def require_sampling(context: Context, _arguments: Wire) -> Wire:
    declared = context.session.client_capabilities
    if declared is None or declared.sampling is None:
        required = {"requiredCapabilities": {"sampling": {}}}
        code = types.MISSING_REQUIRED_CLIENT_CAPABILITY
        raise MCPError(code, "This tool needs the sampling capability.", required)
    return said("You can sample.")


async def stream(context: Context, _arguments: Wire) -> Wire:
    await context.session.report_progress(1, 1, "streamed")
    return said("Only notifications were on the stream.")


async def change_tools(context: Context, _arguments: Wire) -> Wire:
    if not is_modern(context):
        await context.session.send_tool_list_changed()
    await context.lifespan_context.publish(ToolsListChanged())
    return said("Told that the tools have changed.")


async def change_prompts(context: Context, _arguments: Wire) -> Wire:
    if not is_modern(context):
        await context.session.send_prompt_list_changed()
    await context.lifespan_context.publish(PromptsListChanged())
    return said("Told that the prompts have changed.")


async def repeat(_context: Context, arguments: Wire) -> Wire:
    return said(str(arguments))


_MIXED = embedded("test://mixed-content-resource", "application/json", '{"value": 123}')
_HEADED = {"type": "string", "description": "Where", "x-mcp-header": "Region"}
_STRING, _NUMBER = {"type": "string"}, {"type": "number"}
_NONE: Wire = {"type": "object", "properties": {}}
_SLOW: dict[str, Any] = {"execution": "optional"}

TOOLS: dict[str, Fixture] = {
    "test_simple_text": Fixture(
        "Gives text.", _always(said("This is a simple text response for testing.")), _NONE
    ),
    "test_image_content": Fixture("Gives a picture.", _always(complete(image())), _NONE),
    "test_audio_content": Fixture("Gives a sound.", _always(complete(audio())), _NONE),
    "test_embedded_resource": Fixture(
        "Gives a resource.",
        _always(complete(embedded("test://embedded-resource", "text/plain", "It is embedded."))),
        _NONE,
    ),
    "test_multiple_content_types": Fixture(
        "Gives text, a picture and a resource.",
        _always(complete(text("Several kinds:"), image(), _MIXED)),
        _NONE,
    ),
    "test_error_handling": Fixture("Fails.", slow.fail, _NONE),
    "test_tool_with_logging": Fixture("Logs three messages.", log, _NONE),
    "test_logging_tool": Fixture("Logs, if it may.", log, _NONE),
    "test_tool_with_progress": Fixture("Tells its progress.", progress, _NONE),
    "test_reconnection": Fixture("Closes its stream.", reconnect, _NONE),
    "test_sampling": Fixture("Asks the client's model.", sample, takes(prompt=_STRING)),
    "test_elicitation": Fixture("Asks the user.", elicit, takes(message=_STRING)),
    "test_elicitation_sep1034_defaults": Fixture(
        "Asks with a form of defaults.", _asking(forms.DEFAULTS), _NONE
    ),
    "test_elicitation_sep1330_enums": Fixture(
        "Asks with a form of choices.", _asking(forms.CHOICES), _NONE
    ),
    "test_missing_capability": Fixture("Needs sampling.", require_sampling, _NONE),
    "test_streaming_elicitation": Fixture("Streams.", stream, _NONE),
    "test_trigger_tool_change": Fixture("Tells of other tools.", change_tools, _NONE),
    "test_trigger_prompt_change": Fixture("Tells of other prompts.", change_prompts, _NONE),
    "json_schema_2020_12_tool": Fixture("Has a rich schema.", repeat, forms.SCHEMA_2020_12),
    "test_custom_header": Fixture("Has an argument in a header.", repeat, takes(region=_HEADED)),
    "greet": Fixture("Greets.", slow.greet, takes(name=_STRING)),
    "slow_compute": Fixture(
        "Takes its time.", slow.compute, takes(seconds=_NUMBER, label=_STRING), **_SLOW
    ),
    "failing_job": Fixture("Fails slowly.", slow.fail, _NONE, "required"),
    "protocol_error_job": Fixture("Breaks down slowly.", slow.break_down, _NONE, **_SLOW),
    "confirm_delete": Fixture("Asks first.", slow.confirm, takes(filename=_STRING), **_SLOW),
    "test_tool_with_task": Fixture("Asks, then works.", slow.ask_then_work, _NONE, "required"),
    "multi_input": Fixture("Asks for two things.", slow.ask_two, _NONE, **_SLOW),
} | {
    f"test_input_required_result_{name}": Fixture(f"{description}.", run, _NONE)
    for name, (description, run) in ROUNDS.items()
}
