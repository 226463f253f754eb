"""`prompts/list` and `prompts/get`: a prompt per task template, with the input as arguments."""

from typing import Any

import orjson
from mcp.server.lowlevel import Server
from mcp_types import GetPromptRequestParams, PaginatedRequestParams

from app.agents import TaskTemplate
from app.kernel.errors import AppError
from app.surfaces.inputs import prepare
from app.surfaces.mcp.calls import Context
from app.surfaces.mcp.names import Names, style_of
from app.surfaces.mcp.pages import page_of
from app.surfaces.mcp.prompting.arguments import described, read
from app.surfaces.mcp.results import Result, guarded
from app.surfaces.operations import Operations
from app.surfaces.payloads import check_json

_CREDIT = 1_000_000


class Prompts:
    """What a person may choose to have done: the task templates."""

    def __init__(self, operations: Operations, names: Names) -> None:
        self._services = operations.services
        self._names = names

    def register(self, server: Server[Any]) -> None:
        """Serve the methods."""
        page = PaginatedRequestParams
        server.add_request_handler("prompts/list", page, guarded(self.list))
        server.add_request_handler("prompts/get", GetPromptRequestParams, guarded(self.get))

    async def list(self, _context: Context, params: PaginatedRequestParams) -> Result:
        """A page of prompts, by name."""
        found = [(one.name, _shown(one)) for one in self._services.templates.all()]
        size = self._services.settings.mcp_page_size
        prompts, cursor = page_of("prompts", found, params.cursor, size)
        result: Result = {"prompts": prompts, "resultType": "complete"}
        return result if cursor is None else result | {"nextCursor": cursor}

    async def get(self, context: Context, params: GetPromptRequestParams) -> Result:
        """A prompt with its arguments filled in; they are checked as the task's input will be.

        Raises `template_unknown`, `unknown_field`, `invalid_input`.
        """
        template, given = self._services.templates.get(params.name), params.arguments or {}
        check_json(given)
        schema = template.input_schema()
        asked = read(schema, given)
        try:
            template.validate(prepare(schema, asked).value)
        except AppError as error:
            error.hint = "List the prompts to see their arguments."
            raise
        text = self._text(context, template, asked)
        return {
            "description": template.description,
            "messages": [{"role": "user", "content": {"type": "text", "text": text}}],
            "resultType": "complete",
        }

    def _text(self, context: Context, template: TaskTemplate, asked: dict[str, Any]) -> str:
        style = style_of(context)
        quote, run, trace = (
            self._names.shown(name, style)
            for name in ("billing.get_quote", "bio_agent.run_task", "bio_agent.stream_trace")
        )
        arguments = orjson.dumps(
            {"template": template.name, "input": asked}, option=orjson.OPT_INDENT_2
        ).decode()
        price = template.price_micro / _CREDIT
        return (
            f"Run the task “{template.title}” for me: {template.description}\n\n"
            f"It costs {price:g} credits if its result passes the checks, and nothing otherwise;"
            f" {quote} tells the price as it is now. Call {run} with these arguments:\n\n"
            f"```json\n{arguments}\n```\n\n"
            f"Follow the run with {trace} until it has ended. Then tell me what came of it, from"
            " its report (the resource uaol://jobs/{job_id}/report), and which files it left."
            " If it fails, tell me the reason and what I can change."
        )


def _shown(template: TaskTemplate) -> dict[str, Any]:
    return {
        "name": template.name,
        "title": template.title,
        "description": template.description,
        "arguments": described(template.input_schema()),
    }
