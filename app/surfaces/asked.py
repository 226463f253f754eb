"""What a job is asked to do: run a template, call one tool, or run a workflow."""

from typing import Annotated, Any, Self

from pydantic import ConfigDict, Field, model_validator

from app.kernel.errors import AppError, Code
from app.surfaces.batches import Name
from app.surfaces.payloads import Payload
from app.surfaces.workflows.payloads import Version, Workflow

_FORMS = ("template", "tool", "workflow")


class Asked(Payload):
    """A template with its input, one tool with its arguments, or a workflow with its input.

    A file in a template's input is a `file_id` or `{text, name}`. A saved workflow is named, and
    without a `version` the newest is run.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["template", "input"]},
                {"required": ["tool"]},
                {"required": ["workflow"]},
            ]
        }
    )
    template: Name | None = None
    input: Annotated[
        Any, Field(description="Of a template, an object; of a workflow, any JSON.")
    ] = None
    tool: Annotated[Name | None, Field(description="A tool's full name.")] = None
    arguments: dict[str, Any] | None = None
    workflow: Workflow | None = None
    version: Version | None = None

    @model_validator(mode="after")
    def _one_of_three(self) -> Self:
        if sum(getattr(self, form) is not None for form in _FORMS) != 1:
            raise _misfit(
                "", "A job is a template or a workflow with its input, or a tool with its arguments"
            )
        if self.template is not None:
            self._fit_template()
        if self.tool is not None and self.input is not None:
            raise _misfit("/input", "A tool takes `arguments`, not `input`")
        if self.tool is None and self.arguments is not None:
            raise _misfit("/arguments", "Only a tool takes `arguments`; give `input`")
        if self.version is not None and not isinstance(self.workflow, str):
            raise _misfit("/version", "Only a saved workflow has versions")
        return self

    def _fit_template(self) -> None:
        if self.input is None:
            raise _misfit("/input", "A template needs its input")
        if not isinstance(self.input, dict):
            raise _misfit("/input", "A template's input is an object")


def _misfit(where: str, why: str) -> AppError:
    hint = "Give {template, input}, {tool, arguments} or {workflow, input}."
    return AppError(Code.INVALID_INPUT, f"{why}.", hint=hint, details={"pointer": where})
