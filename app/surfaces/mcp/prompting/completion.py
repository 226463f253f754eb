"""`completion/complete`: values for arguments of prompts and variables of resource templates."""

from typing import Any
from uuid import UUID

from mcp.server.lowlevel import Server
from mcp_types import CompleteRequestParams, PromptReference

from app.kernel.errors import AppError, Code
from app.surfaces.mcp.calls import Call, Context
from app.surfaces.mcp.prompting.arguments import fields_of, words_of
from app.surfaces.mcp.resources import TEMPLATES
from app.surfaces.mcp.results import Result, guarded
from app.surfaces.operations import Operations
from app.surfaces.payloads import text_fault

_MOST = 100
"""Values of one answer, by the specification."""
_JOBS = 199


class Completions:
    """Completes from what the caller may see, and nothing else."""

    def __init__(self, operations: Operations) -> None:
        self._ops = operations

    def register(self, server: Server[Any]) -> None:
        """Serve the method."""
        server.add_request_handler(
            "completion/complete", CompleteRequestParams, guarded(self.complete)
        )

    async def complete(self, context: Context, params: CompleteRequestParams) -> Result:
        """Values that begin with what was typed, the likeliest first."""
        typed = params.argument.value
        if text_fault(typed) is not None:
            return _answer([])
        known = params.context.arguments if params.context is not None else None
        if isinstance(params.ref, PromptReference):
            found = self._of_prompt(params.ref.name, params.argument.name)
        else:
            call = Call.of(context)
            found = await self._of_uri(call, params.ref.uri, params.argument.name, known or {})
        begun = typed.lower()
        return _answer([value for value in found if value.lower().startswith(begun)])

    def _of_prompt(self, name: str, argument: str) -> list[str]:
        fields = fields_of(self._ops.services.templates.get(name).input_schema())
        if argument not in fields:
            raise _unknown(f"The prompt {name} has no argument {argument[:100]!r}.")
        return words_of(fields[argument])

    async def _of_uri(
        self, call: Call, uri: str, variable: str, known: dict[str, str]
    ) -> list[str]:
        if not any(one["uriTemplate"] == uri for one in TEMPLATES):
            raise _unknown("There is no such resource template.")
        if f"{{{variable}}}" not in uri:
            raise _unknown(f"The template has no variable {variable[:100]!r}.")
        if variable == "volume":
            return [volume.name for volume in self._ops.services.volumes.all()]
        if variable == "job_id":
            page = await self._ops.jobs(call.principal, _JOBS, None)
            return [str(job.job_id) for job in page.jobs]
        try:
            job_id = UUID(known.get("job_id", ""))
        except ValueError:
            return []
        try:
            files = await self._ops.job_files(call.principal, job_id)
        except AppError as error:
            if error.code is Code.NOT_FOUND:
                return []
            raise
        return [file.name for file in files]


def _answer(values: list[str]) -> Result:
    completion = {
        "values": values[:_MOST],
        "total": len(values),
        "hasMore": len(values) > _MOST,
    }
    return {"completion": completion, "resultType": "complete"}


def _unknown(message: str) -> AppError:
    return AppError(Code.NOT_FOUND, message, hint="See prompts/list and resources/templates/list.")
